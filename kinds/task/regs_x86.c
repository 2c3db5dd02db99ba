// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the x86-64 registers. It is no facet: registers are read before anything is injected and
 * set as the last thing of all (task.h).
 *
 * A thread that was stopped inside a system call shows one of the kernel's restart codes in rax and
 * the call's number in orig_rax. In the image the call stands as not yet begun (ip at the syscall
 * instruction, ax its number).
 *
 * So does a call that the kernel would end by restart_syscall(2), from state which nobody can read:
 * poll, nanosleep, clock_nanosleep, futex with a relative time. It waits its whole time again,
 * unless the kernel wrote the rest over it, as it does for sleep(3). Programs that install no
 * handler do not expect EINTR from these (tail -f ends with an error).
 *
 * Whether the call goes on or ends with EINTR if a signal is handled before, as one that came while
 * the thread was stopped, depends on the restart code: it is kept beside the common image. With it
 * the thread gets its registers as they were, and the kernel, on the thread's way out of our hands,
 * does what it does after SIGSTOP and SIGCONT (arch_do_signal_or_restart(); a detached thread
 * always passes there, because __ptrace_unlink() marks it as having a signal to look for).
 */
#include "kernel/proc_status.h"
#include "kernel/ptrace.h"
#include "kernel/xstate.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

enum {
	/* linux/errno.h, never seen by programs */
	RESTART_SYS = 512,
	RESTART_NO_INTR = 513,
	RESTART_NO_HAND = 514,
	RESTART_BLOCK = 516,
	SYSCALL_INSN_LEN = 2,
	MOV_EAX_LEN = 5,
	CS_32 = 0x23, /* __USER32_CS */
	N_TLS = 3,
	FIRST_TLS = 12, /* GDT_ENTRY_TLS_MIN */
};

static bool has_restart_block(uint64_t nr)
{
	return nr == SYS_poll || nr == SYS_nanosleep || nr == SYS_clock_nanosleep ||
	       nr == SYS_futex;
}

/*
 * The call a thread is in that is to go on by a restart block. One that was stopped before, too, is
 * already inside of restart_syscall(2); then the number stands where C libraries load it, in a
 * `mov $nr,%eax` right before the `syscall`. False: cannot be known.
 */
static bool blocked_call(pid_t tid, const UserX86RegsEntry *g, uint64_t *nr)
{
	uint8_t code[8];
	uint64_t word;
	uint32_t loaded;

	*nr = g->orig_ax;
	if (*nr == SYS_restart_syscall) {
		if (ptrace_peek(tid, g->ip - MOV_EAX_LEN - SYSCALL_INSN_LEN, &word) < 0)
			return false;
		memcpy(code, &word, sizeof(code));
		memcpy(&loaded, code + 1, sizeof(loaded));
		if (code[0] != 0xb8 || code[5] != 0x0f || code[6] != 0x05)
			return false;
		*nr = loaded;
	}
	return has_restart_block(*nr);
}

/* A signal waits that will be handled: it has ended the call, for readers of any kind. */
static int is_signalled(const struct look *l, bool *ret, struct err *err)
{
	struct proc_status st;
	int r = look_status(l, &st, err);

	if (r == 0)
		*ret = ((st.sigpnd | st.shdpnd) & ~st.sigblk & st.sigcgt) != 0;
	return r;
}

/* code: what the kernel shall see when it decides whether the call goes on. */
static void begin_again(UserX86RegsEntry *g, uint64_t nr, int64_t code, TorporThreadEntry *extra)
{
	extra->has_restart = true;
	extra->restart = (uint32_t)code;
	g->orig_ax = nr;
	g->ax = nr;
	g->ip -= SYSCALL_INSN_LEN;
}

static int fix_syscall(const struct look *l, UserX86RegsEntry *g, struct err *err)
{
	bool signalled = false;
	uint64_t nr;
	int r = 0;

	if ((int64_t)g->orig_ax < 0)
		return 0;
	switch (-(int64_t)g->ax) {
	case RESTART_SYS:
	case RESTART_NO_INTR:
	case RESTART_NO_HAND:
		begin_again(g, g->orig_ax, -(int64_t)g->ax, l->thread->extra);
		break;
	case RESTART_BLOCK:
		r = is_signalled(l, &signalled, err);
		if (r == 0 && !signalled && blocked_call(l->tid, g, &nr))
			begin_again(g, nr, RESTART_NO_HAND, l->thread->extra);
		else
			g->ax = (uint64_t)-EINTR;
		break;
	}
	return r;
}

bool regs_call(const CoreEntry *core, uint64_t nr, uint64_t *ret_first)
{
	const UserX86RegsEntry *g = core->thread_info ? core->thread_info->gpregs : NULL;

	if (!g || g->ax != nr || g->orig_ax != nr)
		return false;
	*ret_first = g->di;
	return true;
}

void regs_end_call(struct thread *t, int64_t result)
{
	UserX86RegsEntry *g = t->core->thread_info->gpregs;

	t->extra->has_restart = false;
	g->ax = (uint64_t)result;
	g->ip += SYSCALL_INSN_LEN;
}

static void regs_to_msg(const struct user_regs_struct *r, UserX86RegsEntry *g)
{
	g->r15 = r->r15;
	g->r14 = r->r14;
	g->r13 = r->r13;
	g->r12 = r->r12;
	g->bp = r->rbp;
	g->bx = r->rbx;
	g->r11 = r->r11;
	g->r10 = r->r10;
	g->r9 = r->r9;
	g->r8 = r->r8;
	g->ax = r->rax;
	g->cx = r->rcx;
	g->dx = r->rdx;
	g->si = r->rsi;
	g->di = r->rdi;
	g->orig_ax = r->orig_rax;
	g->ip = r->rip;
	g->cs = r->cs;
	g->flags = r->eflags;
	g->sp = r->rsp;
	g->ss = r->ss;
	g->fs_base = r->fs_base;
	g->gs_base = r->gs_base;
	g->ds = r->ds;
	g->es = r->es;
	g->fs = r->fs;
	g->gs = r->gs;
	g->has_mode = true;
	g->mode = USER_X86_REGS_MODE__NATIVE;
}

static void regs_from_msg(const UserX86RegsEntry *g, struct user_regs_struct *r)
{
	*r = (struct user_regs_struct){
		.r15 = g->r15,
		.r14 = g->r14,
		.r13 = g->r13,
		.r12 = g->r12,
		.rbp = g->bp,
		.rbx = g->bx,
		.r11 = g->r11,
		.r10 = g->r10,
		.r9 = g->r9,
		.r8 = g->r8,
		.rax = g->ax,
		.rcx = g->cx,
		.rdx = g->dx,
		.rsi = g->si,
		.rdi = g->di,
		.orig_rax = (unsigned long long)-1, /* there is no call to restart */
		.rip = g->ip,
		.cs = g->cs,
		.eflags = g->flags,
		.rsp = g->sp,
		.ss = g->ss,
		.fs_base = g->fs_base,
		.gs_base = g->gs_base,
		.ds = g->ds,
		.es = g->es,
		.fs = g->fs,
		.gs = g->gs,
	};
}

/* As they were inside the call, if it is one that goes on. */
static void back_into_syscall(
	const UserX86RegsEntry *g, const TorporThreadEntry *extra, struct user_regs_struct *r)
{
	if (!extra->has_restart || extra->restart < RESTART_SYS ||
		extra->restart > RESTART_NO_HAND || (int64_t)g->orig_ax < 0 || g->ax != g->orig_ax)
		return;
	r->orig_rax = g->orig_ax;
	r->rax = (unsigned long long)-(long long)extra->restart;
	r->rip += SYSCALL_INSN_LEN;
}

/* 64-bit threads do not use the three thread descriptors; readers expect them all the same. */
static void empty_tls(struct arena *a, ThreadInfoX86 *info)
{
	info->n_tls = N_TLS;
	info->tls = arena_array(a, N_TLS, sizeof(*info->tls));
	for (unsigned i = 0; i < N_TLS; i++) {
		info->tls[i] = arena_msg(a, UserDescT, user_desc_t);
		info->tls[i]->entry_number = FIRST_TLS + i;
	}
}

int regs_look(struct look *l, const struct user_regs_struct *regs, struct err *err)
{
	struct arena *a = l->world->arena;
	uint8_t area[XSTATE_MAX];
	size_t len = sizeof(area);
	ThreadInfoX86 *info;
	char who[THREAD_NAME];
	int r;

	thread_name(l->thread, who, sizeof(who));
	if (regs->cs == CS_32)
		return err_unsupported(err, "%s runs 32-bit code, which cannot be saved yet", who);
	core_ensure(l->world, l->thread);
	info = l->thread->core->thread_info;
	regs_to_msg(regs, info->gpregs);
	r = fix_syscall(l, info->gpregs, err);
	if (r < 0)
		return r;
	empty_tls(a, info);
	r = ptrace_get_xstate(l->tid, area, &len);
	if (r < 0)
		return err_sysn(err, -r, "cannot read the extended registers of %s", who);
	r = xsave_to_msg(a, area, len, info->fpregs, err);
	return r < 0 ? err_while(err, "saving the registers of %s", who) : 0;
}

static int set_extended(const struct arise *a, const UserX86FpregsEntry *fp, struct err *err)
{
	uint8_t area[XSTATE_MAX];
	size_t len = sizeof(area);
	int r = ptrace_get_xstate(a->tid, area, &len);

	if (r < 0)
		return err_sysn(err, -r, "cannot read its extended registers");
	r = xsave_from_msg(fp, area, len, err);
	if (r < 0)
		return r;
	r = ptrace_set_xstate(a->tid, area, len);
	return r < 0 ? err_sysn(err, -r, "cannot set its extended registers") : 0;
}

static int set_all(const struct arise *a, struct err *err)
{
	const ThreadInfoX86 *info = a->thread->core->thread_info;
	struct user_regs_struct regs;
	int r;

	if (!info || !info->gpregs || !info->fpregs)
		return err_image(err, "its core image lacks registers");
	if ((info->gpregs->has_mode && info->gpregs->mode == USER_X86_REGS_MODE__COMPAT) ||
		info->gpregs->cs == CS_32)
		return err_unsupported(err, "it runs 32-bit code, which cannot be restored yet");
	r = set_extended(a, info->fpregs, err);
	if (r < 0)
		return r;
	regs_from_msg(info->gpregs, &regs);
	back_into_syscall(info->gpregs, a->thread->extra, &regs);
	r = ptrace_set_regs(a->tid, &regs);
	return r < 0 ? err_sysn(err, -r, "cannot set its registers") : 0;
}

int regs_set(const struct arise *a, struct err *err)
{
	char who[THREAD_NAME];
	int r = set_all(a, err);

	if (r == 0)
		r = rseq_set_late(a, err);
	if (r == 0)
		r = sigmask_set(a, err);
	if (r == 0)
		r = pending_set_late(a, err);
	return r < 0 ? err_while(err, "restoring the registers of %s",
			       thread_name(a->thread, who, sizeof(who)))
		     : 0;
}
