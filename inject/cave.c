// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/cave.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "base/vec.h"
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

/* Returns where in it the address stands to which it jumps. */
static size_t build(const struct user_regs_struct *r, uint64_t sigmask, uint8_t code[CAVE_LEN])
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
	size_t rip_at;

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
	rip_at = (size_t)(c.at - code);
	emit(&c, &rip, 8);
	to_mask = (uint32_t)(c.at - lea_end);
	memcpy(lea_end - 4, &to_mask, 4);
	emit(&c, &sigmask, 8);
	return rip_at;
}

void cave_build(const struct user_regs_struct *regs, uint64_t sigmask, uint8_t code[CAVE_LEN])
{
	build(regs, sigmask, code);
}

/* ---- places ---- */

enum { PAGE_LEN = 4096, CAVE_AT = PAGE_LEN - 16 - CAVE_LEN }; /* within an area's last page */

/* Unused bytes at the end of an executable area, or a cave that a torpor which was killed has left. */
struct place {
	uint64_t at;
	uint64_t next; /* to where that cave leads; 0: there is none */
	bool needed; /* somebody is still to go through it */
};
struct places vec_of(struct place);

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
static bool is_cave(const uint8_t *at, uint64_t *ret_next)
{
	struct user_regs_struct zeros, ones;
	uint8_t a[CAVE_LEN], b[CAVE_LEN];
	size_t rip_at;

	memset(&zeros, 0, sizeof(zeros));
	memset(&ones, 0xff, sizeof(ones));
	rip_at = build(&zeros, 0, a);
	build(&ones, UINT64_MAX, b);
	for (size_t i = 0; i < CAVE_LEN; i++)
		if (a[i] == b[i] && at[i] != a[i])
			return false;
	memcpy(ret_next, at + rip_at, sizeof(*ret_next));
	return true;
}

/* Looks at the last page of an executable area. */
static void add_place(int mem, uint64_t start, uint64_t end, struct places *places)
{
	struct place p = { .at = end - PAGE_LEN + CAVE_AT };
	uint8_t page[PAGE_LEN];

	if (end - start >= sizeof(page) &&
		io_pread_all(mem, page, sizeof(page), (off_t)(end - sizeof(page))) == 0 &&
		all_zero(page + CAVE_AT - 16, 16) && all_zero(page + CAVE_AT + CAVE_LEN, 16) &&
		(all_zero(page + CAVE_AT, CAVE_LEN) || is_cave(page + CAVE_AT, &p.next)))
		vec_push(places, p);
}

/* "start-end r-xp offset dev inode  path": of the vdso, or of the others. */
static void add_places(const char *maps, int mem, bool of_vdso, struct places *places)
{
	struct cursor c = cursor_of(maps), line;

	while (parse_line(&c, &line)) {
		bool vdso = line.end - line.at >= 6 && !memcmp(line.end - 6, "[vdso]", 6);
		uint64_t start, end;

		if (vdso == of_vdso && parse_u64(&line, 16, &start) && parse_lit(&line, "-") &&
			parse_u64(&line, 16, &end) && parse_lit(&line, " r-xp "))
			add_place(mem, start, end, places);
	}
}

/* ---- who needs them ---- */

/* The cave in which this address lies. */
static struct place *cave_at(const struct places *places, uint64_t at)
{
	vec_each(p, places)
		if (p->next && at >= p->at && at < p->at + CAVE_LEN)
			return p;
	return NULL;
}

/* A player leads to a cave, but does not say to which one: it lies at the start of a page. */
static bool is_player(int mem, uint64_t at)
{
	uint8_t page[PAGE_LEN];

	return io_pread_all(mem, page, sizeof(page), (off_t)(at & -(uint64_t)PAGE_LEN)) == 0 &&
		!memcmp(page, player_start, PLAYER_LEN);
}

static void need_all(struct places *places)
{
	vec_each(p, places)
		p->needed = true;
}

/*
 * Everything on the way of a thread that goes on here. A torpor may have been killed that had met it
 * on the way which another one had left it: then one cave leads to the next.
 */
static void follow(struct places *places, int mem, uint64_t at)
{
	struct place *p = cave_at(places, at);

	while (p && !p->needed) {
		p->needed = true;
		at = p->next;
		p = cave_at(places, at);
	}
	if (!p && is_player(mem, at))
		need_all(places);
}

/*
 * Addresses within caves on the thread's stack: it met a signal on its way out, as soon as that was
 * no longer blocked, and the handler will return there. What such a frame looks like is the kernel's
 * business, so any word counts; a false alarm costs another place for the cave.
 */
static void follow_stack(struct places *places, int mem, uint64_t rsp)
{
	enum { STACK_MOST = 1 << 20 };
	uint64_t words[512], at = rsp & -(uint64_t)sizeof(*words);

	while (at < rsp + STACK_MOST) {
		ssize_t n = pread(mem, words, sizeof(words), (off_t)at);

		for (ssize_t i = 0; i < n / (ssize_t)sizeof(*words); i++)
			if (cave_at(places, words[i]))
				follow(places, mem, words[i]);
		if (n < (ssize_t)sizeof(words))
			break;
		at += sizeof(words);
	}
}

/* Caves and players that torpors which were killed have left, and which threads still go through. */
static void mark_needed(pid_t pid, int mem, struct places *places)
{
	struct user_regs_struct regs;
	char path[64];
	struct dirent *e;
	auto_dir DIR *dir = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		need_all(places);
	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		if (ptrace(PTRACE_GETREGS, atoi(e->d_name), NULL, &regs) < 0) {
			need_all(places);
			continue;
		}
		follow(places, mem, regs.rip);
		follow_stack(places, mem, regs.rsp);
	}
}

/* The first that is free: never used ones need no look at the threads. */
static bool choose(pid_t pid, int mem, struct places *places, uint64_t *ret)
{
	bool marked = false;

	vec_each(p, places) {
		if (p->next && !marked)
			mark_needed(pid, mem, places);
		marked |= p->next != 0;
		if (!p->needed || !p->next) {
			*ret = p->at;
			return true;
		}
	}
	return false;
}

int cave_find(pid_t pid, int mem, uint64_t *ret, struct err *err)
{
	auto_free char *maps = NULL;
	struct places places = { 0 };
	int r = io_slurpf(&maps, NULL, "/proc/%d/maps", pid);
	bool found;

	if (r < 0)
		return err_sysn(err, -r, "cannot read the memory map of task %d", pid);
	add_places(maps, mem, true, &places);
	if (!places.n || places.at[0].next)
		add_places(maps, mem, false, &places);
	found = choose(pid, mem, &places, ret);
	vec_done(&places);
	if (found)
		return 0;
	return err_unsupported(err,
		"task %d has no %d unused bytes in its executable memory, which are needed to ask "
		"it about itself safely", pid, CAVE_LEN + 32);
}
