// SPDX-License-Identifier: GPL-2.0-or-later
/* Playing tapes in husks, descriptors into them, ends of them. husk_birth.c: forks and threads. */
#include "inject/husk.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "inject/husk_priv.h"
#include "inject/tick.h"
#include "inject/tracee.h"
#include "player/layout.h"
#include "player/player.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void husk_layout_done(struct husk_layout *layout)
{
	if (!layout->tapes)
		return;
	munmap(layout->tapes, TAPES_LEN);
	close(layout->tapes_fd);
	layout->tapes = NULL;
}

static int open_mem(struct husk *h)
{
	char path[64];

	if (h->mem >= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", h->pid);
	h->mem = open(path, O_RDWR | O_CLOEXEC);
	return h->mem < 0 ? -errno : 0;
}

int husk_write(struct husk *h, const void *buf, size_t len, uint64_t vaddr)
{
	int r = open_mem(h);

	return r < 0 ? r : io_pwrite_all(h->mem, buf, len, (off_t)vaddr);
}

int husk_read(struct husk *h, void *buf, size_t len, uint64_t vaddr)
{
	int r = open_mem(h);

	return r < 0 ? r : io_pread_all(h->mem, buf, len, (off_t)vaddr);
}

/* ---- tapes ---- */

static pid_t tid_of(const struct husk_turn *turn)
{
	return turn->tid ? turn->tid : turn->h->pid;
}

static int go_on(pid_t tid, struct err *err)
{
	if (ptrace(PTRACE_CONT, tid, NULL, NULL) < 0)
		return err_sys(err, "cannot continue task %d", tid);
	return 0;
}

/* Until the marker. Other signals are dropped: what a task shall have comes later. */
static int wait_marker(const struct husk *h, pid_t tid, struct err *err)
{
	int status, signal, r;

	for (;;) {
		r = husk_wait(h, tid, &status, err);
		if (r < 0)
			return r;
		signal = tracee_event(status) ? 0 : WSTOPSIG(status);
		if (signal == h->marker)
			return 0;
		if (signal == SIGSEGV || signal == SIGBUS || signal == SIGTRAP)
			return err_bug(err, "task %d got signal %d while it was being filled", tid,
				signal);
		r = go_on(tid, err);
		if (r < 0)
			return r;
	}
}

/* The calls that tell its end, behind all others. */
static void end_tape(const struct husk *h, struct tape *t)
{
	size_t pid = tape_call0(t, "husk", 0, SYS_getpid);
	size_t tid = tape_call0(t, "husk", 0, SYS_gettid);

	tape_call(t, "husk", 0, SYS_tgkill, T_RESULT(pid), T_RESULT(tid), T(h->marker));
}

static int turn_start(struct husk_turn *turn, size_t marker, struct err *err)
{
	const struct husk_layout *l = turn->h->layout;
	uint64_t base = l->area + TAPE_OFFSET + turn->at;
	struct user_regs_struct regs = l->regs;
	pid_t tid = tid_of(turn);

	tape_render(turn->tape, base, l->tapes + turn->at);
	regs.rip = l->area + PLAYER_OFFSET(player_play);
	regs.orig_rax = (unsigned long)-1;
	regs.rbx = base;
	regs.rbp = base + tape_entries_len(turn->tape);
	regs.r15 = base + marker;
	regs.r13 = l->area + PLAYER_OFFSET(player_trap);
	regs.rsp = l->area + STACK_OFFSET;
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
		return err_sys(err, "cannot set registers of task %d", tid);
	return go_on(tid, err);
}

static int turn_finish(struct husk_turn *turn, struct err *err)
{
	pid_t tid = tid_of(turn);
	int r = wait_marker(turn->h, tid, err);

	if (r < 0)
		return r;
	tape_learn(turn->tape, turn->h->layout->tapes + turn->at);
	return tape_check(turn->tape, tid, err);
}

/* Starts as many as the memory has room for; returns how many these are, at least one. */
static size_t start_some(struct husk_turn *turns, size_t n, int *ret, struct err *err)
{
	size_t used = 0, i;

	for (i = 0; i < n && *ret == 0; i++) {
		struct husk_turn *turn = &turns[i];
		size_t marker = tape_calls(turn->tape) * ENTRY_SIZE;

		if (i && used + tape_size(turn->tape) + END_ROOM > TAPES_LEN)
			break;
		end_tape(turn->h, turn->tape);
		turn->at = used;
		turn->size = tape_size(turn->tape);
		used += turn->size;
		if (used > TAPES_LEN)
			turn->result = err_bug(err, "tape of %zu bytes for task %d", turn->size,
				tid_of(turn));
		else
			turn->result = turn_start(turn, marker, err);
		*ret = turn->result;
	}
	return i;
}

int husk_play_all(struct husk_turn *turns, size_t n, struct err *err)
{
	struct err ignored = ERR_INIT;
	size_t done = 0, end;
	struct tick tick;
	int r = 0;

	tick_begin(&tick);
	while (done < n && r == 0) {
		end = done + start_some(turns + done, n - done, &r, err);
		for (; done < end; done++) {
			struct husk_turn *turn = &turns[done];

			/* where one hangs the others do, too: they are not waited for in turn */
			if (turn->result == 0 && (r == -ETIMEDOUT || r == -EINTR))
				turn->result = -ECANCELED;
			else if (turn->result == 0)
				turn->result = turn_finish(turn, r < 0 ? &ignored : err);
			r = r < 0 ? r : turn->result;
		}
	}
	tick_end(&tick);
	for (; done < n; done++)
		turns[done].result = -ECANCELED;
	return r;
}

int husk_play(struct husk *h, pid_t tid, struct tape *tape, struct err *err)
{
	struct husk_turn turn = { .h = h, .tid = tid, .tape = tape };

	return husk_play_all(&turn, 1, err);
}

/* ---- descriptors ---- */

size_t tape_take(struct tape *t, int lender, int fd)
{
	return tape_call(t, "husk", TAPE_MUST, SYS_pidfd_getfd, T(lender), T(fd), T(0));
}

int husk_send(struct husk *h, const int *fds, size_t n, int *ret_numbers, struct err *err)
{
	struct tape *t;
	int r;

	if (n == 0)
		return 0;
	if (n > HUSK_SEND_MAX)
		return err_bug(err, "%zu descriptors at once", n);
	t = tape_new();
	for (size_t i = 0; i < n; i++)
		tape_take(t, h->lender_fd, fds[i]);
	r = husk_play(h, 0, t, err);
	for (size_t i = 0; i < n && r == 0; i++)
		ret_numbers[i] = (int)tape_result(t, i);
	tape_free(t);
	if (r == -EMFILE)
		return err_while(err, "passing %zu descriptors on: its limit of open files is "
			"too low", n);
	return r;
}

/* ---- ends ---- */

static int wait_end(pid_t pid, struct err *err)
{
	int status;

	for (;;) {
		if (waitpid(pid, &status, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(err, "cannot wait for the end of task %d", pid);
		}
		if (!WIFSTOPPED(status))
			return 0;
		/* the deadly signal is reported to us first; other stops go on */
		if (ptrace(PTRACE_CONT, pid, NULL,
			    (void *)(uintptr_t)(tracee_event(status) ? 0 : WSTOPSIG(status))) < 0)
			return err_sys(err, "cannot continue task %d", pid);
	}
}

int husk_exit(struct husk *h, int code, int signal, struct err *err)
{
	uint64_t none = 0;
	int r;

	if (signal) {
		/* whatever is blocked is none of the dying task's business any more */
		if (ptrace(PTRACE_SETSIGMASK, h->pid, sizeof(none), &none) < 0)
			return err_sys(err, "cannot set the signal mask of task %d", h->pid);
		if (kill(h->pid, signal) < 0)
			return err_sys(err, "cannot send signal %d to task %d", signal, h->pid);
		if (ptrace(PTRACE_CONT, h->pid, NULL, NULL) < 0 && errno != ESRCH)
			return err_sys(err, "cannot continue task %d", h->pid);
	} else {
		const uint64_t args[6] = { (uint64_t)code };

		r = husk_set_syscall(h, h->pid, h->layout->area, SYS_exit_group, args, err);
		if (r < 0)
			return r;
		if (ptrace(PTRACE_CONT, h->pid, NULL, NULL) < 0)
			return err_sys(err, "cannot continue task %d", h->pid);
	}
	return wait_end(h->pid, err);
}

/* Each step in all before the next one: to the entry of munmap(2), to its end, its result. */
static int unmap_start(const struct husk_turn *turn, struct err *err)
{
	const struct husk_layout *l = turn->h->layout;
	const uint64_t args[6] = { l->area, l->area_len };
	int r = husk_set_syscall(turn->h, tid_of(turn), l->area, SYS_munmap, args, err);

	return r < 0 ? r : husk_to_syscall_stop(tid_of(turn), err);
}

static int unmap_enter(const struct husk_turn *turn, struct err *err)
{
	int r = husk_wait_syscall_stop(tid_of(turn), err);

	return r < 0 ? r : husk_to_syscall_stop(tid_of(turn), err);
}

static int unmap_finish(const struct husk_turn *turn, struct err *err)
{
	struct user_regs_struct regs;
	pid_t tid = tid_of(turn);
	int r = husk_wait_syscall_stop(tid, err);

	if (r == 0 && ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		r = err_sys(err, "cannot read registers of task %d", tid);
	if (r == 0 && (int64_t)regs.rax < 0)
		r = err_sysn(err, (int)-(int64_t)regs.rax, "task %d cannot unmap its scratch area",
			turn->h->pid);
	return r;
}

int husk_unmap_areas(const struct husk_turn *turns, size_t n, struct err *err)
{
	static int (*const steps[])(const struct husk_turn *, struct err *) = { unmap_start,
		unmap_enter, unmap_finish };
	int r = 0;

	for (size_t k = 0; k < sizeof(steps) / sizeof(*steps); k++)
		for (size_t i = 0; i < n && r == 0; i++)
			r = steps[k](&turns[i], err);
	return r;
}

static bool is_zombie(pid_t pid)
{
	auto_free char *text = NULL;
	const char *state;

	if (io_slurpf(&text, NULL, "/proc/%d/stat", pid) < 0)
		return true;
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'Z';
}

int husk_leader_exit(struct husk *h, int code, struct err *err)
{
	const uint64_t args[6] = { (uint64_t)code };
	int r = husk_set_syscall(h, h->pid, h->layout->area, SYS_exit, args, err);

	if (r < 0)
		return r;
	if (ptrace(PTRACE_DETACH, h->pid, NULL, NULL) < 0)
		return err_sys(err, "cannot detach from task %d", h->pid);
	/* at once, but on a busy machine one of low priority needs long for its last step */
	for (int i = 0; i < 60000; i++) {
		if (is_zombie(h->pid))
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = i < 1000 ? 100000 : 1000000 }, NULL);
	}
	return err_set(err, ERR_KERNEL, ETIMEDOUT, "leader %d did not exit", h->pid);
}

void husk_done(struct husk *h)
{
	if (h->mem >= 0)
		close(h->mem);
	h->mem = -1;
}
