// SPDX-License-Identifier: GPL-2.0-or-later
/* The thread of a held process under our hand: registers and mask, calls through the cave. */
#include "base/io.h"
#include "inject/cave.h"
#include "inject/hold_priv.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Who is taken home has no more to do than to stop. */
enum { PULL_S = 10 };

static int set_regs(pid_t tid, const struct user_regs_struct *regs, struct err *err)
{
	if (ptrace(PTRACE_SETREGS, tid, NULL, regs) < 0)
		return err_sys(err, "cannot set registers of task %d", tid);
	return 0;
}

static int set_mask(pid_t tid, uint64_t mask, struct err *err)
{
	if (ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) < 0)
		return err_sys(err, "cannot set the signal mask of task %d", tid);
	return 0;
}

int hold_resume(pid_t tid, int request, struct err *err)
{
	if (ptrace((enum __ptrace_request)request, tid, NULL, NULL) < 0)
		return err_sys(err, "cannot continue task %d", tid);
	return 0;
}

/* Everything is blocked but the marker; KILL and STOP cannot be. */
static uint64_t playing_mask(const struct hold *h)
{
	return ~(1ull << (h->marker - 1));
}

int hold_load_cave(struct hold *h, struct tracee *t, struct err *err)
{
	uint8_t code[CAVE_LEN];
	int r;

	if (h->loaded == t)
		return 0;
	cave_build(&t->regs, t->sigmask, code);
	h->dirty = true;
	h->loaded = NULL;
	r = io_pwrite_all(h->mem, code, sizeof(code), (off_t)h->cave);
	if (r < 0)
		return err_sysn(err, -r, "cannot write into the vdso of task %d", t->tgid);
	h->loaded = t;
	return 0;
}

/* Mask first, then registers: see hold.h. The thread must be in a stop inside get_signal(). */
int hold_put_back(struct tracee *t, struct err *err)
{
	int r = set_mask(t->tid, t->sigmask, err);

	return r < 0 ? r : set_regs(t->tid, &t->regs, err);
}

int hold_start_at(struct hold *h, struct tracee *t, const struct user_regs_struct *regs,
	struct err *err)
{
	int r = set_regs(t->tid, regs, err);

	return r < 0 ? r : set_mask(t->tid, playing_mask(h), err);
}

/* For the cave and one system call there, on the stack that the thread has at home. */
static struct user_regs_struct before_cave(const struct hold *h, const struct tracee *t, long nr,
	const uint64_t args[6])
{
	struct user_regs_struct regs = t->regs;

	tracee_aim(&regs, h->cave, nr, args);
	return regs;
}

/* Who is left there unmaps the area and goes home. */
static struct user_regs_struct before_home(const struct hold *h, const struct tracee *t)
{
	return before_cave(h, t, SYS_munmap, (const uint64_t[6]){ h->area, h->area_len });
}

int hold_enter_player(struct hold *h, struct tracee *t, const struct user_regs_struct *regs,
	struct err *err)
{
	const struct user_regs_struct home = before_home(h, t);
	int r = hold_start_at(h, t, &home, err);

	return r < 0 ? r : set_regs(t->tid, regs, err);
}

int hold_leave_player(struct hold *h, struct tracee *t, struct err *err)
{
	const struct user_regs_struct home = before_home(h, t);
	int r = set_regs(t->tid, &home, err);

	return r < 0 ? r : hold_put_back(t, err);
}

/* Waits for the next stop of a system call; ignored signals met on the way stay ignored. */
static int wait_syscall_stop(struct hold *h, pid_t tid, struct err *err)
{
	int status, r;

	while ((r = hold_wait(h, tid, &status, err)) == 0 && WSTOPSIG(status) != (SIGTRAP | 0x80))
		if ((r = hold_resume(tid, PTRACE_SYSCALL, err)) < 0)
			break;
	return r;
}

/*
 * From the entry of a system call: the thread goes through it and, before any instruction, into a
 * stop inside get_signal(), where raw registers can be put back. A stop that is asked for while it
 * is stopped here is met there; the calls made this way heed fatal signals only.
 */
static int go_through(pid_t tid, struct err *err)
{
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
		return err_sys(err, "cannot stop task %d", tid);
	return hold_resume(tid, PTRACE_CONT, err);
}

static int wait_event_stop(struct hold *h, pid_t tid, struct err *err)
{
	int status, r;

	while ((r = hold_wait(h, tid, &status, err)) == 0 &&
		tracee_event(status) != PTRACE_EVENT_STOP) {
		/* another stop may have taken the request away: see tracee_wait_stop() */
		(void)ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
		if ((r = hold_resume(tid, PTRACE_CONT, err)) < 0)
			break;
	}
	return r;
}

static int call_start(struct cave_call *c, struct err *err)
{
	const struct user_regs_struct regs = before_cave(c->h, c->t, c->nr, c->args);
	int r = hold_load_cave(c->h, c->t, err);

	if (r == 0)
		r = hold_start_at(c->h, c->t, &regs, err);
	return r < 0 ? r : hold_resume(c->t->tid, PTRACE_SYSCALL, err);
}

static int call_enter(struct cave_call *c, struct err *err)
{
	int r = wait_syscall_stop(c->h, c->t->tid, err);

	return r < 0 ? r : go_through(c->t->tid, err);
}

static int call_finish(struct cave_call *c, struct err *err)
{
	struct user_regs_struct regs;
	int r = wait_event_stop(c->h, c->t->tid, err);

	if (r == 0 && ptrace(PTRACE_GETREGS, c->t->tid, NULL, &regs) < 0)
		r = err_sys(err, "cannot read registers of task %d", c->t->tid);
	if (r < 0)
		return r;
	c->ret = (int64_t)regs.rax;
	return hold_put_back(c->t, err);
}

/*
 * A thread that did not come to make its call in time is taken home, which works where it is kept
 * from running only: so nothing is left of the attempt. One that is to unmap the area is left
 * adrift, as is one that plays a tape: they do what is still to be done.
 */
static void pull_back(struct cave_call *c)
{
	struct err ignored = ERR_INIT;
	struct user_regs_struct regs;
	struct hold *h = c->h;

	if (!h->adrift || c->nr == SYS_munmap || ptrace(PTRACE_INTERRUPT, c->t->tid, NULL, NULL) < 0)
		return;
	h->patience_s = PULL_S;
	if (wait_event_stop(h, c->t->tid, &ignored) < 0 ||
		ptrace(PTRACE_GETREGS, c->t->tid, NULL, &regs) < 0 ||
		hold_put_back(c->t, &ignored) < 0)
		return;
	h->adrift = false;
	/* it was late, but it was made */
	if (c->nr == SYS_mmap && regs.rip != h->cave && (int64_t)regs.rax > 0) {
		h->area = regs.rax;
		h->area_len = c->args[1];
	}
}

/* Takes a step of one of many: the first error is kept, a hold that failed is left alone. */
void hold_note(struct hold *h, int r, int *ret)
{
	if (r == 0)
		return;
	h->failed = true;
	*ret = *ret < 0 ? *ret : r;
}

/* The calls of many processes, each step in all of them before the next one. */
int hold_call(struct cave_call *c, size_t n, struct err *err)
{
	static int (*const steps[])(struct cave_call *, struct err *) = { call_start, call_enter,
		call_finish };
	struct err ignored = ERR_INIT;
	int r = 0;

	for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++)
		for (size_t i = 0; i < n; i++)
			if (!c[i].h->failed)
				hold_note(c[i].h, steps[k](&c[i], r < 0 ? &ignored : err), &r);
	for (size_t i = 0; i < n; i++)
		pull_back(&c[i]);
	return r;
}

/* After hold_call(): judges each result. */
int hold_judge(struct cave_call *c, size_t n, int (*judge)(struct cave_call *, struct err *),
	int r, struct err *err)
{
	struct err ignored = ERR_INIT;

	for (size_t i = 0; i < n; i++)
		if (!c[i].h->failed)
			hold_note(c[i].h, judge(&c[i], r < 0 ? &ignored : err), &r);
	return r;
}
