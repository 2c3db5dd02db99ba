// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/hold.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "inject/cave.h"
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
#include <sys/uio.h>
#include <sys/wait.h>

/*
 * The area: one page with the player (r-x), then struct heal with a word of stack below it, then
 * the tape (both rw-).
 */
enum { PLAYER_PAGE = 4096, HEAL_AT = 4096 + 64, TAPE_AT = 4096 + 128 };
enum { AREA_LEN = (PLAYER_PAGE + 128 + HOLD_TAPE_MAX + 4095) & ~4095 };

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

static int resume(pid_t tid, int request, struct err *err)
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

static int load_cave(struct hold *h, struct tracee *t, struct err *err)
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
static int put_back(struct tracee *t, struct err *err)
{
	int r = set_mask(t->tid, t->sigmask, err);

	return r < 0 ? r : set_regs(t->tid, &t->regs, err);
}

static int start_at(struct hold *h, struct tracee *t, const struct user_regs_struct *regs,
	struct err *err)
{
	int r = set_regs(t->tid, regs, err);

	return r < 0 ? r : set_mask(t->tid, playing_mask(h), err);
}

/* Goes on until the next stop of a system call; ignored signals met on the way stay ignored. */
static int next_syscall_stop(pid_t tid, struct err *err)
{
	int status, r;

	do {
		r = resume(tid, PTRACE_SYSCALL, err);
		if (r == 0)
			r = tracee_wait(tid, &status, err);
		if (r < 0)
			return r;
	} while (WSTOPSIG(status) != (SIGTRAP | 0x80));
	return 0;
}

/* From a syscall-exit stop into a stop inside get_signal(), where raw registers can be put back. */
static int into_event_stop(pid_t tid, struct err *err)
{
	int status, r;

	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
		return err_sys(err, "cannot stop task %d", tid);
	do {
		r = resume(tid, PTRACE_CONT, err);
		if (r == 0)
			r = tracee_wait(tid, &status, err);
		if (r < 0)
			return r;
	} while (tracee_event(status) != PTRACE_EVENT_STOP);
	return 0;
}

/* One system call by the cave's first instruction. */
static int cave_call(struct hold *h, struct tracee *t, long nr, const uint64_t args[6], int64_t *ret,
	struct err *err)
{
	struct user_regs_struct regs = t->regs;
	int r = load_cave(h, t, err);

	regs.rip = h->cave;
	regs.rax = (unsigned long)nr;
	regs.orig_rax = (unsigned long)-1;
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	regs.r8 = args[4];
	regs.r9 = args[5];
	if (r == 0)
		r = start_at(h, t, &regs, err);
	if (r == 0)
		r = next_syscall_stop(t->tid, err); /* entry */
	if (r == 0)
		r = next_syscall_stop(t->tid, err); /* exit */
	if (r == 0 && ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) < 0)
		r = err_sys(err, "cannot read registers of task %d", t->tid);
	if (r == 0)
		r = into_event_stop(t->tid, err);
	if (r == 0)
		r = put_back(t, err);
	*ret = (int64_t)regs.rax;
	return r;
}

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

static int map_area(struct hold *h, struct tracee *t, struct err *err)
{
	const uint64_t map[6] = { 0, AREA_LEN, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		(uint64_t)-1, 0 };
	int64_t ret;
	int r = cave_call(h, t, SYS_mmap, map, &ret, err);

	if (r < 0)
		return r;
	if (ret < 0 && ret > -4096)
		return err_sysn(err, (int)-ret, "task %d cannot map a scratch area", t->tgid);
	h->area = (uint64_t)ret;
	h->area_len = AREA_LEN;
	/* writable without being executable, never both (PR_SET_MDWE) */
	{
		const uint64_t protect[6] = { h->area + PLAYER_PAGE, AREA_LEN - PLAYER_PAGE,
			PROT_READ | PROT_WRITE };

		r = cave_call(h, t, SYS_mprotect, protect, &ret, err);
	}
	if (r < 0)
		return r;
	if (ret < 0)
		return err_sysn(err, (int)-ret, "task %d cannot make its scratch area writable",
			t->tgid);
	r = io_pwrite_all(h->mem, player_start, PLAYER_LEN, (off_t)h->area);
	if (r < 0)
		return err_sysn(err, -r, "cannot write into task %d", t->tgid);
	return 0;
}

int hold_begin(struct hold *h, struct tracee *t, struct err *err)
{
	char path[64];
	int r;

	*h = (struct hold){ .by = t, .mem = -1 };
	snprintf(path, sizeof(path), "/proc/%d/mem", t->tid);
	h->mem = open(path, O_RDWR | O_CLOEXEC);
	if (h->mem < 0)
		return err_sys(err, "cannot open the memory of task %d", t->tgid);
	r = choose_marker(t->tid, &h->marker, err);
	if (r == 0)
		r = cave_find(t->tid, h->mem, &h->cave, err);
	if (r == 0)
		r = map_area(h, t, err);
	if (r < 0)
		hold_end(h);
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
		r = resume(t->tid, PTRACE_CONT, err);
		if (r == 0)
			r = tracee_wait(t->tid, &status, err);
		if (r < 0)
			return r;
		if (!is_marker(h, t, status))
			continue;
		/* a tkill from elsewhere comes with the player still at work */
		if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) < 0)
			return err_sys(err, "cannot read registers of task %d", t->tid);
		if (regs.rbx + ENTRY_SIZE >= regs.rbp)
			return 0;
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

int hold_play(struct hold *h, struct tracee *t, struct tape *tape, struct err *err)
{
	size_t marker = tape_calls(tape) * ENTRY_SIZE;
	size_t pid = tape_call0(tape, "hold", 0, SYS_getpid);
	size_t tid = tape_call0(tape, "hold", 0, SYS_gettid);
	struct user_regs_struct regs = t->regs;
	uint64_t base = h->area + TAPE_AT;
	auto_free uint8_t *buf = NULL;
	size_t size;
	int r;

	tape_call(tape, "hold", 0, SYS_tgkill, T_RESULT(pid), T_RESULT(tid), T(h->marker));
	size = tape_size(tape);
	if (size > HOLD_TAPE_MAX)
		return err_bug(err, "tape of %zu bytes for task %d", size, t->tid);
	buf = malloc(size);
	if (!buf)
		return err_nomem(err);
	r = load_cave(h, t, err);
	if (r == 0)
		r = write_tape(h, t, tape, buf, size, err);
	regs.rip = h->area + PLAYER_OFFSET(player_play);
	regs.orig_rax = (unsigned long)-1;
	regs.rbx = base;
	regs.rbp = base + tape_entries_len(tape);
	regs.r15 = base + marker;
	regs.r13 = h->area + PLAYER_OFFSET(player_heal);
	regs.r14 = h->area + HEAL_AT;
	regs.rsp = h->area + HEAL_AT;
	if (r == 0)
		r = start_at(h, t, &regs, err);
	if (r == 0)
		r = wait_marker(h, t, err);
	if (r == 0)
		r = put_back(t, err);
	if (r == 0 && io_pread_all(h->mem, buf, size, (off_t)base) < 0)
		r = err_sys(err, "cannot read a tape back from task %d", t->tid);
	if (r == 0)
		tape_learn(tape, buf);
	return r;
}

void hold_end(struct hold *h)
{
	static const uint8_t zeros[CAVE_LEN];
	const uint64_t unmap[6] = { h->area, h->area_len };
	struct err err = ERR_INIT;
	int64_t ret = 0;

	if (h->area && (cave_call(h, h->by, SYS_munmap, unmap, &ret, &err) < 0 || ret < 0))
		log_warn("%zu bytes of scratch memory stay mapped in task %d at 0x%lx",
			h->area_len, h->by->tgid, (unsigned long)h->area);
	if (h->dirty && io_pwrite_all(h->mem, zeros, sizeof(zeros), (off_t)h->cave) < 0)
		log_warn("unused code stays in task %d at 0x%lx", h->by->tgid,
			(unsigned long)h->cave);
	if (h->mem >= 0)
		close(h->mem);
	*h = (struct hold){ .mem = -1 };
}
