// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/cave.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "player/player.h"
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Kernel-internal results of an interrupted system call (include/linux/errno.h). */
enum { RESTARTSYS = 512, RESTARTNOINTR = 513, RESTARTNOHAND = 514, RESTART_RESTARTBLOCK = 516 };

struct code {
	uint8_t *at;
};

static void emit(struct code *c, const void *bytes, size_t n)
{
	memcpy(c->at, bytes, n);
	c->at += n;
}

static void emit_mov_imm64(struct code *c, int reg, uint64_t value)
{
	uint8_t op[2] = { (uint8_t)(0x48 | (reg >= 8)), (uint8_t)(0xb8 | (reg & 7)) };

	emit(c, op, 2);
	emit(c, &value, 8);
}

static void emit_mov_imm32(struct code *c, int reg, uint32_t value)
{
	uint8_t op[3] = { 0x41, (uint8_t)(0xb8 | (reg & 7)) };

	emit(c, reg >= 8 ? op : op + 1, reg >= 8 ? 2 : 1);
	emit(c, &value, 4);
}

/* Where the thread goes on in user mode if nobody interferes: an interrupted call starts again. */
static void resumed(const struct user_regs_struct *raw, uint64_t *rip, uint64_t *rax)
{
	*rip = raw->rip;
	*rax = raw->rax;
	if ((long)raw->orig_rax < 0)
		return;
	switch (-(long)raw->rax) {
	case RESTARTSYS:
	case RESTARTNOINTR:
	case RESTARTNOHAND:
		*rip = raw->rip - 2;
		*rax = raw->orig_rax;
		break;
	case RESTART_RESTARTBLOCK:
		*rip = raw->rip - 2;
		*rax = SYS_restart_syscall;
		break;
	}
}

void cave_build(const struct user_regs_struct *r, uint64_t sigmask, uint8_t code[CAVE_LEN])
{
	static const uint8_t syscall_insn[] = { 0x0f, 0x05 };
	static const uint8_t lea_rsi[] = { 0x48, 0x8d, 0x35 }; /* lea disp32(%rip),%rsi */
	static const uint8_t jmp_next[] = { 0xff, 0x25, 0, 0, 0, 0 }; /* jmp *0(%rip) */
	const uint64_t gpr[16] = { r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
		r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15 };
	enum { RAX = 0, RDX = 2, RSP = 4, RDI = 7, R10 = 10 };
	struct code c = { .at = code };
	uint64_t rip, rax;
	uint32_t to_mask;
	uint8_t *lea_end;

	memset(code, 0, CAVE_LEN);
	resumed(r, &rip, &rax);
	emit(&c, syscall_insn, 2);
	emit_mov_imm64(&c, RSP, gpr[RSP]);
	/* rt_sigprocmask(SIG_SETMASK, &mask, NULL, 8); mov leaves the flags alone */
	emit_mov_imm32(&c, RAX, SYS_rt_sigprocmask);
	emit_mov_imm32(&c, RDI, SIG_SETMASK);
	emit(&c, lea_rsi, 3);
	lea_end = c.at + 4;
	c.at += 4;
	emit_mov_imm32(&c, RDX, 0);
	emit_mov_imm32(&c, R10, 8);
	emit(&c, syscall_insn, 2);
	for (int i = 1; i < 16; i++)
		if (i != RSP)
			emit_mov_imm64(&c, i, gpr[i]);
	emit_mov_imm64(&c, RAX, rax);
	emit(&c, jmp_next, 6);
	emit(&c, &rip, 8);
	to_mask = (uint32_t)(c.at - lea_end);
	memcpy(lea_end - 4, &to_mask, 4);
	emit(&c, &sigmask, 8);
}

struct area {
	uint64_t start, end;
	bool usable, vdso;
};

/* "start-end r-xp offset dev inode  path" */
static bool area_parse(struct cursor line, struct area *a)
{
	struct cursor path;

	if (!parse_u64(&line, 16, &a->start) || !parse_lit(&line, "-") ||
		!parse_u64(&line, 16, &a->end))
		return false;
	a->usable = parse_lit(&line, " r-xp ");
	path = line;
	a->vdso = path.end - path.at >= 6 && !memcmp(path.end - 6, "[vdso]", 6);
	return true;
}

enum { PAGE_LEN = 4096, CAVE_AT = PAGE_LEN - 16 - CAVE_LEN }; /* within an area's last page */

static bool all_zero(const uint8_t *at, size_t n)
{
	while (n && !*at)
		at++, n--;
	return n == 0;
}

/*
 * Whether these bytes were put there by cave_build(), whatever its operands were: compared is what
 * two builds with different operands have in common.
 */
static bool is_cave(const uint8_t *at)
{
	struct user_regs_struct zeros, ones;
	uint8_t a[CAVE_LEN], b[CAVE_LEN];

	memset(&zeros, 0, sizeof(zeros));
	memset(&ones, 0xff, sizeof(ones));
	cave_build(&zeros, 0, a);
	cave_build(&ones, UINT64_MAX, b);
	for (size_t i = 0; i < CAVE_LEN; i++)
		if (a[i] == b[i] && at[i] != a[i])
			return false;
	return true;
}

/*
 * Whether the thread has an address within the cave on its stack: it met a signal on its way out, as
 * soon as that was no longer blocked, and the handler will return there. What such a frame looks like
 * is the kernel's business, so any word counts; a false alarm costs another place for the cave.
 */
static bool returns_there(const struct user_regs_struct *regs, int mem, uint64_t cave)
{
	enum { STACK_MOST = 1 << 20 };
	uint64_t words[512], at = regs->rsp & -(uint64_t)sizeof(*words);

	while (at < regs->rsp + STACK_MOST) {
		ssize_t n = pread(mem, words, sizeof(words), (off_t)at);

		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*words); i++)
			if (words[i] >= cave && words[i] < cave + CAVE_LEN)
				return true;
		if (n < (ssize_t)sizeof(words))
			break;
		at += sizeof(words);
	}
	return false;
}

/*
 * Whether a thread of the process (all are stopped, we are their tracer) is still on its way out of
 * a player or a cave that a torpor which was killed has left: those bytes are needed.
 */
static bool is_leaving(pid_t tid, int mem, uint64_t cave)
{
	struct user_regs_struct regs;
	uint8_t page[PAGE_LEN]; /* the player lies at the start of one and is shorter */

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		return true;
	if ((regs.rip >= cave && regs.rip < cave + CAVE_LEN) || returns_there(&regs, mem, cave))
		return true;
	return io_pread_all(mem, page, sizeof(page), (off_t)(regs.rip & -(uint64_t)PAGE_LEN)) == 0 &&
		!memcmp(page, player_start, PLAYER_LEN);
}

static bool anyone_leaving(pid_t pid, int mem, uint64_t cave)
{
	char path[64];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && !found && (e = readdir(dir)))
		found = e->d_name[0] != '.' && is_leaving((pid_t)atoi(e->d_name), mem, cave);
	if (dir)
		closedir(dir);
	return found || !dir;
}

/* Unused bytes at the end of the area's last page: zeros, or a cave nobody needs any more. */
static bool area_tail(const struct area *a, pid_t pid, int mem, uint64_t *ret)
{
	uint8_t page[PAGE_LEN];
	uint64_t cave = a->end - PAGE_LEN + CAVE_AT;

	if (a->end - a->start < sizeof(page) ||
		io_pread_all(mem, page, sizeof(page), (off_t)(a->end - sizeof(page))) < 0)
		return false;
	if (!all_zero(page + CAVE_AT - 16, 16) || !all_zero(page + CAVE_AT + CAVE_LEN, 16))
		return false;
	if (!all_zero(page + CAVE_AT, CAVE_LEN) &&
		(!is_cave(page + CAVE_AT) || anyone_leaving(pid, mem, cave)))
		return false;
	*ret = cave;
	return true;
}

int cave_find(pid_t pid, int mem, uint64_t *ret, struct err *err)
{
	auto_free char *maps = NULL;
	struct cursor c, line;
	struct area a;
	int r = io_slurpf(&maps, NULL, "/proc/%d/maps", pid);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the memory map of task %d", pid);
	for (int want_vdso = 1; want_vdso >= 0; want_vdso--) {
		c = cursor_of(maps);
		while (parse_line(&c, &line))
			if (area_parse(line, &a) && a.usable && a.vdso == want_vdso &&
				area_tail(&a, pid, mem, ret))
				return 0;
	}
	return err_unsupported(err,
		"task %d has no %d unused bytes in its executable memory, which are needed to ask "
		"it about itself safely", pid, CAVE_LEN + 32);
}
