// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/hold.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "inject/cave.h"
#include "inject/hold_priv.h"
#include "player/layout.h"
#include "player/player.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

/*
 * The area: one page with the player (r-x), then struct heal with a word of stack below it, then
 * the tape (both rw-).
 */
enum { PLAYER_PAGE = 4096, HEAL_AT = 4096 + 64, TAPE_AT = 4096 + 128 };
enum { AREA_LEN = (PLAYER_PAGE + 128 + HOLD_TAPE_MAX + 4095) & ~4095 };

/*
 * A signal the target ignores, by default or by choice; see hold.h. SIGCONT would not do: sending
 * it has effects of its own.
 */
static int choose_marker(pid_t pid, int *ret, struct err *err)
{
	static const int by_default[] = { SIGURG, SIGWINCH, SIGCHLD };
	auto_free char *status = NULL;
	uint64_t caught, ignored;
	int r = io_slurpf(&status, NULL, "/proc/%d/status", pid);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the status of task %d", pid);
	if (!parse_field_u64(status, "SigCgt:", 16, &caught) ||
		!parse_field_u64(status, "SigIgn:", 16, &ignored))
		return err_set(err, ERR_KERNEL, EPROTO, "/proc/%d/status has no signal masks", pid);
	for (size_t i = 0; i < sizeof(by_default) / sizeof(*by_default); i++) {
		if (!(caught >> (by_default[i] - 1) & 1)) {
			*ret = by_default[i];
			return 0;
		}
	}
	for (int s = 1; s <= 64; s++) {
		if (ignored >> (s - 1) & 1 && s != SIGKILL && s != SIGSTOP && s != SIGCONT) {
			*ret = s;
			return 0;
		}
	}
	return err_unsupported(err,
		"task %d handles SIGURG, SIGWINCH and SIGCHLD and ignores no signal; one that is "
		"ignored is needed to ask it about itself safely", pid);
}

static int map_done(struct cave_call *c, struct err *err)
{
	if (c->ret == -ENOMEM)
		return err_sysn(err, ENOMEM,
			"task %d cannot map %d KiB to be asked about itself: raise its limit of address "
			"space (prlimit --as) or that of the number of areas (vm.max_map_count)",
			c->t->tgid, AREA_LEN / 1024);
	if (c->ret < 0 && c->ret > -4096)
		return err_sysn(err, (int)-c->ret, "task %d cannot map a scratch area", c->t->tgid);
	c->h->area = (uint64_t)c->ret;
	c->h->area_len = AREA_LEN;
	return 0;
}

static int protect_done(struct cave_call *c, struct err *err)
{
	int r;

	if (c->ret < 0)
		return err_sysn(err, (int)-c->ret,
			"task %d cannot make its scratch area writable", c->t->tgid);
	r = io_pwrite_all(c->h->mem, player_start, PLAYER_LEN, (off_t)c->h->area);
	return r < 0 ? err_sysn(err, -r, "cannot write into task %d", c->t->tgid) : 0;
}

static int map_areas(struct hold *h, size_t n, struct err *err)
{
	struct cave_call *c = calloc(n, sizeof(*c));
	int r;

	if (!c)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		c[i] = (struct cave_call){ &h[i], h[i].by, SYS_mmap,
			{ 0, AREA_LEN, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
				(uint64_t)-1, 0 }, 0 };
	r = hold_judge(c, n, map_done, hold_call(c, n, err), err);
	/* writable without being executable, never both (PR_SET_MDWE) */
	for (size_t i = 0; i < n; i++)
		c[i] = (struct cave_call){ &h[i], h[i].by, SYS_mprotect,
			{ h[i].area + PLAYER_PAGE, AREA_LEN - PLAYER_PAGE,
				PROT_READ | PROT_WRITE }, 0 };
	if (r == 0)
		r = hold_judge(c, n, protect_done, hold_call(c, n, err), err);
	free(c);
	return r;
}

static int prepare(struct hold *h, struct tracee *t, struct err *err)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/mem", t->tid);
	h->mem = open(path, O_RDWR | O_CLOEXEC);
	if (h->mem < 0)
		return err_sys(err, "cannot open the memory of task %d", t->tgid);
	r = choose_marker(t->tid, &h->marker, err);
	return r < 0 ? r : cave_find(t->tid, h->mem, &h->cave, err);
}

int hold_begin(struct hold *h, struct tracee *const *t, size_t n, unsigned patience_s,
	struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n; i++)
		h[i] = (struct hold){ .by = t[i], .mem = -1, .patience_s = patience_s };
	tick_begin(&h[0].tick);
	for (size_t i = 0; i < n && r == 0; i++)
		r = prepare(&h[i], t[i], err);
	if (r == 0)
		r = map_areas(h, n, err);
	if (r < 0)
		hold_end(h, n);
	return r;
}

/* Is this stop our marker (or the same signal from elsewhere: it is ignored anyway)? */
static bool is_marker(struct hold *h, struct tracee *t, int status)
{
	siginfo_t info;

	if (tracee_event(status) || WSTOPSIG(status) != h->marker)
		return false;
	if (ptrace(PTRACE_GETSIGINFO, t->tid, NULL, &info) < 0)
		return false;
	return info.si_code == SI_TKILL;
}

static int wait_marker(struct hold *h, struct tracee *t, struct err *err)
{
	struct user_regs_struct regs;
	int status, r;

	for (;;) {
		r = hold_wait(h, t->tid, &status, err);
		if (r == 0 && is_marker(h, t, status)) {
			/* a tkill from elsewhere comes with the player still at work */
			if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) < 0)
				return err_sys(err, "cannot read registers of task %d", t->tid);
			if (regs.rbx + ENTRY_SIZE >= regs.rbp)
				return 0;
		}
		if (r == 0)
			r = hold_resume(t->tid, PTRACE_CONT, err);
		if (r < 0)
			return r;
	}
}

static int write_tape(struct hold *h, struct tracee *t, struct tape *tape, uint8_t *buf, size_t size,
	struct err *err)
{
	const uint64_t heal[4] = { t->regs.eflags, h->area, h->area_len, h->cave };
	struct iovec local[2] = { { (void *)heal, sizeof(heal) }, { buf, size } };
	struct iovec remote[2] = { { (void *)(h->area + HEAL_AT), sizeof(heal) },
		{ (void *)(h->area + TAPE_AT), size } };
	ssize_t n;

	tape_render(tape, h->area + TAPE_AT, buf);
	n = process_vm_writev(t->tid, local, 2, remote, 2, 0);
	if (n != (ssize_t)(size + sizeof(heal)))
		return err_sysn(err, n < 0 ? errno : EIO, "cannot write a tape into task %d",
			t->tid);
	return 0;
}

static int turn_start(struct hold_turn *turn, struct err *err)
{
	struct hold *h = turn->h;
	struct tracee *t = turn->t;
	struct tape *tape = turn->tape;
	size_t marker = tape_calls(tape) * ENTRY_SIZE;
	size_t pid = tape_call0(tape, "hold", 0, SYS_getpid);
	size_t tid = tape_call0(tape, "hold", 0, SYS_gettid);
	struct user_regs_struct regs = t->regs;
	uint64_t base = h->area + TAPE_AT;
	int r;

	tape_call(tape, "hold", 0, SYS_tgkill, T_RESULT(pid), T_RESULT(tid), T(h->marker));
	turn->size = tape_size(tape);
	if (turn->size > HOLD_TAPE_MAX)
		return err_bug(err, "tape of %zu bytes for task %d", turn->size, t->tid);
	turn->buf = malloc(turn->size);
	if (!turn->buf)
		return err_nomem(err);
	r = hold_load_cave(h, t, err);
	if (r == 0)
		r = write_tape(h, t, tape, turn->buf, turn->size, err);
	regs.rip = h->area + PLAYER_OFFSET(player_play);
	regs.orig_rax = (unsigned long)-1;
	regs.rbx = base;
	regs.rbp = base + tape_entries_len(tape);
	regs.r15 = base + marker;
	regs.r13 = h->area + PLAYER_OFFSET(player_heal);
	regs.r14 = h->area + HEAL_AT;
	regs.rsp = h->area + HEAL_AT;
	if (r == 0)
		r = hold_enter_player(h, t, &regs, err);
	return r < 0 ? r : hold_resume(t->tid, PTRACE_CONT, err);
}

static int turn_finish(struct hold_turn *turn, struct err *err)
{
	int r = wait_marker(turn->h, turn->t, err);

	if (r == 0)
		r = hold_leave_player(turn->h, turn->t, err);
	if (r < 0)
		return r;
	if (io_pread_all(turn->h->mem, turn->buf, turn->size,
		    (off_t)(turn->h->area + TAPE_AT)) < 0)
		return err_sys(err, "cannot read a tape back from task %d", turn->t->tid);
	tape_learn(turn->tape, turn->buf);
	return 0;
}

int hold_play(struct hold_turn *turns, size_t n, struct err *err)
{
	struct err ignored = ERR_INIT;
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		turns[i].buf = NULL;
		hold_note(turns[i].h, turn_start(&turns[i], r < 0 ? &ignored : err), &r);
	}
	for (size_t i = 0; i < n; i++) {
		if (!turns[i].h->failed)
			hold_note(turns[i].h, turn_finish(&turns[i], r < 0 ? &ignored : err), &r);
		free(turns[i].buf);
	}
	return r;
}

static void unmap_areas(struct hold *h, size_t n)
{
	struct cave_call *c = calloc(n, sizeof(*c));
	struct err err = ERR_INIT;
	size_t m = 0;

	for (size_t i = 0; c && i < n; i++) {
		h[i].failed = false; /* it is tried all the same */
		if (h[i].area && !h[i].adrift)
			c[m++] = (struct cave_call){ &h[i], h[i].by, SYS_munmap,
				{ h[i].area, h[i].area_len }, 0 };
	}
	if (m && hold_call(c, m, &err) < 0)
		err_clear(&err);
	for (size_t i = 0; i < m; i++)
		if (c[i].h->failed || c[i].ret < 0)
			log_warn("%zu bytes of scratch memory stay mapped in task %d at 0x%lx",
				c[i].h->area_len, c[i].t->tgid, (unsigned long)c[i].h->area);
	free(c);
}

void hold_end(struct hold *h, size_t n)
{
	static const uint8_t zeros[CAVE_LEN];

	unmap_areas(h, n);
	tick_end(&h[0].tick);
	for (size_t i = 0; i < n; i++) {
		if (h[i].dirty && !h[i].adrift &&
			io_pwrite_all(h[i].mem, zeros, sizeof(zeros), (off_t)h[i].cave) < 0)
			log_warn("unused code stays in task %d at 0x%lx", h[i].by->tgid,
				(unsigned long)h[i].cave);
		if (h[i].mem >= 0)
			close(h[i].mem);
		h[i] = (struct hold){ .mem = -1 };
	}
}
