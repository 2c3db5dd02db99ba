// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of seccomp: strict mode and chains of filters (seccomp(2), kernel/seccomp.c).
 *
 * Image: one SeccompEntry for all tasks, whose filters stand in chains, oldest first, each naming
 * the one before it; a thread names its newest. Equal chains of a whole task are the leader's, with
 * the flag TSYNC, and the other threads say nothing. Chains are compared by content; the kernel
 * does not tell more.
 *
 * Restore installs filters as the last call of a thread. One that will have neither no_new_privs
 * nor CAP_SYS_ADMIN by then gets them before its credentials. Either way later tapes pass: they are
 * played with PTRACE_O_SUSPEND_SECCOMP.
 */
#include "kernel/ptrace.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum {
	INSN = sizeof(struct sock_filter),
	MAX_INSNS = 32768, /* of a chain (MAX_INSNS_PER_PATH), */
	PENALTY = 4,	   /* each filter counting that many more */
	FLAGS = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG |
		SECCOMP_FILTER_FLAG_SPEC_ALLOW, /* others make the call do something else */
};

/* ---- dump ---- */

static SeccompEntry *all_filters(struct world *w)
{
	struct entry_list *list = &w->entries[IMG_SECCOMP];

	if (!list->n)
		world_add(w, IMG_SECCOMP, 0, arena_msg(w->arena, SeccompEntry, seccomp_entry));
	return list->at[0]->msg;
}

/*
 * The chain of one thread, oldest first: so the kernel counts (get_nth_filter() in kernel/seccomp.c),
 * although ptrace(2) says the opposite.
 */
struct chain {
	SeccompFilter **at;
	size_t n;
};

static int read_filter(struct look *l, unsigned index, SeccompFilter **ret, struct err *err)
{
	struct arena *a = l->world->arena;
	struct sock_filter insns[BPF_MAXINSNS];
	char who[THREAD_NAME];
	SeccompFilter *f;
	uint64_t flags = 0;
	int n = ptrace_seccomp_filter(l->tid, index, insns);

	*ret = NULL;
	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return err_sysn(err, -n, "cannot read seccomp filter %u of %s", index,
			thread_name(l->thread, who, sizeof(who)));
	(void)!ptrace_seccomp_flags(l->tid, index, &flags);
	f = arena_msg(a, SeccompFilter, seccomp_filter);
	f->filter.len = (size_t)n * INSN;
	f->filter.data = arena_memdup(a, insns, f->filter.len);
	f->has_flags = true;
	f->flags = (uint32_t)flags;
	*ret = f;
	return 0;
}

static int read_chain(struct look *l, struct chain *c, struct err *err)
{
	for (;;) {
		SeccompFilter *f;
		int r = read_filter(l, (unsigned)c->n, &f, err);

		if (r < 0 || !f)
			return r;
		arena_push(l->world->arena, c->at, c->n, f);
	}
}

static bool same_filter(const SeccompFilter *a, const SeccompFilter *b)
{
	uint32_t tsync = SECCOMP_FILTER_FLAG_TSYNC;

	return (a->flags & ~tsync) == (b->flags & ~tsync) && a->filter.len == b->filter.len &&
	       !memcmp(a->filter.data, b->filter.data, a->filter.len);
}

/* Is the chain the one whose newest filter has that index? */
static bool same_chain(const SeccompEntry *all, uint32_t newest, const struct chain *c)
{
	uint32_t at = newest;

	for (size_t i = c->n; i-- > 0;) {
		const SeccompFilter *f = all->seccomp_filters[at];

		if (!same_filter(f, c->at[i]) || (bool)f->has_prev != (i > 0))
			return false;
		at = f->prev;
	}
	return true;
}

static uint32_t add_chain(struct world *w, SeccompEntry *all, const struct chain *c)
{
	for (size_t i = 0; i < c->n; i++) {
		SeccompFilter *f = c->at[i];

		if (i > 0) {
			f->has_prev = true;
			f->prev = (uint32_t)(all->n_seccomp_filters - 1);
		}
		arena_push(w->arena, all->seccomp_filters, all->n_seccomp_filters, f);
	}
	return (uint32_t)(all->n_seccomp_filters - 1);
}

/* The thread before this one in the task which may have the same chain, or NULL. */
static const ThreadCoreEntry *elder(const struct thread *th)
{
	const struct thread *speaker = task_live_thread(th->task);

	return th == speaker ? NULL : speaker->core->thread_core;
}

static int look_filters(struct look *l, struct err *err)
{
	SeccompEntry *all = all_filters(l->world);
	ThreadCoreEntry *core = own_core(l);
	const ThreadCoreEntry *before = elder(l->thread);
	struct chain c = { 0 };
	int r = read_chain(l, &c, err);

	if (r < 0 || !c.n)
		return r;
	core->has_seccomp_filter = true;
	if (before && before->has_seccomp_filter && same_chain(all, before->seccomp_filter, &c))
		core->seccomp_filter = before->seccomp_filter;
	else
		core->seccomp_filter = add_chain(l->world, all, &c);
	return 0;
}

/* After the last thread: if all have the leader's chain, it is marked and they say nothing. */
static void mark_common(struct look *l)
{
	struct task *t = l->thread->task;
	SeccompEntry *all = all_filters(l->world);
	const ThreadCoreEntry *first = t->threads[0].core->thread_core;
	uint32_t at;

	if (t->leader_dead || !first || !first->has_seccomp_filter)
		return;
	task_each_thread(th, t) {
		const ThreadCoreEntry *core = th->core->thread_core;

		if (!core || !core->has_seccomp_filter ||
			core->seccomp_filter != first->seccomp_filter)
			return;
	}
	for (size_t i = 1; i < t->n_threads; i++) {
		ThreadCoreEntry *core = t->threads[i].core->thread_core;

		core->has_seccomp_mode = core->has_seccomp_filter = false;
		core->seccomp_mode = SECCOMP_MODE__disabled;
		core->seccomp_filter = 0;
	}
	for (at = first->seccomp_filter;; at = all->seccomp_filters[at]->prev) {
		all->seccomp_filters[at]->flags |= SECCOMP_FILTER_FLAG_TSYNC;
		if (!all->seccomp_filters[at]->has_prev)
			break;
	}
}

static int seccomp_look(struct look *l, struct err *err)
{
	struct task *t = l->thread->task;
	ThreadCoreEntry *core = own_core(l);
	struct proc_status st;
	int r = look_status(l, &st, err);

	(void)all_filters(l->world); /* the image is always there */
	if (r < 0)
		return r;
	if (st.seccomp) {
		core->has_seccomp_mode = true;
		core->seccomp_mode = (SeccompMode)st.seccomp;
	}
	if (st.seccomp == SECCOMP_MODE_FILTER)
		r = look_filters(l, err);
	if (r == 0 && l->thread == &t->threads[t->n_threads - 1])
		mark_common(l);
	return r;
}

/* ---- check ---- */

static const SeccompEntry *loaded(const struct world *w)
{
	const struct entry_list *list = &w->entries[IMG_SECCOMP];

	return list->n ? list->at[0]->msg : NULL;
}

/* Length of the chain that ends at an index; 0 if it is damaged. */
static size_t chain_len(const SeccompEntry *all, uint32_t at)
{
	size_t insns = 0;

	for (size_t n = 1; insns <= MAX_INSNS; n++) {
		const SeccompFilter *f;

		if (!all || at >= all->n_seccomp_filters)
			return 0;
		f = all->seccomp_filters[at];
		if (!f->filter.len || f->filter.len % INSN || f->filter.len > BPF_MAXINSNS * INSN)
			return 0;
		if (!f->has_prev)
			return n;
		insns += f->filter.len / INSN + PENALTY;
		if (f->prev >= at)
			return 0;
		at = f->prev;
	}
	return 0;
}

static void seccomp_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const ThreadCoreEntry *core = th->core->thread_core;

	if (!core || !core->has_seccomp_mode || core->seccomp_mode == SECCOMP_MODE__disabled)
		return;
	if (core->seccomp_mode == SECCOMP_MODE__strict)
		return;
	if (core->seccomp_mode != SECCOMP_MODE__filter || !core->has_seccomp_filter ||
		!chain_len(loaded(w), core->seccomp_filter))
		finding_add(f, "seccomp-chain", SEV_ERROR, th->task->pid,
			"seccomp filters of thread %d are damaged or not in seccomp.img", th->tid);
}

/* ---- restore ---- */

static void tell_filter(struct tape *t, const SeccompFilter *f)
{
	struct sock_fprog prog = { .len = (unsigned short)(f->filter.len / INSN) };
	size_t at_insns = tape_data(t, f->filter.data, f->filter.len);
	size_t at_prog = tape_data(t, &prog, sizeof(prog));

	tape_point(t, at_prog + offsetof(struct sock_fprog, filter), at_insns);
	tape_call(t, "seccomp", TAPE_MUST, SYS_seccomp, T(SECCOMP_SET_MODE_FILTER),
		T(f->flags & FLAGS), T_DATA(at_prog));
}

static int tell_chain(struct tape *t, const struct arise *a, uint32_t newest, struct err *err)
{
	const SeccompEntry *all = loaded(a->world);
	size_t n = chain_len(all, newest);
	SeccompFilter **chain;

	if (!n)
		return err_image(err, "seccomp filters of thread %d are damaged", a->thread->tid);
	chain = arena_array(a->world->arena, n, sizeof(*chain));
	for (size_t i = n; i-- > 0;) {
		chain[i] = all->seccomp_filters[newest];
		newest = chain[i]->prev;
	}
	for (size_t i = 0; i < n; i++)
		tell_filter(t, chain[i]);
	return 0;
}

/* Will the thread with its final credentials be refused new filters? */
static bool is_early(const ThreadCoreEntry *core)
{
	const CredsEntry *c = core->creds;

	if (!c || (c->has_no_new_privs && c->no_new_privs))
		return false;
	return !(c->n_cap_eff && c->cap_eff[0] >> CAP_SYS_ADMIN & 1);
}

static int tell_if(struct tape *t, const struct arise *a, bool early, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;

	if (!core || !core->has_seccomp_mode)
		return 0;
	if (core->seccomp_mode == SECCOMP_MODE__filter && core->has_seccomp_filter)
		return is_early(core) == early ? tell_chain(t, a, core->seccomp_filter, err) : 0;
	if (core->seccomp_mode == SECCOMP_MODE__strict && !early)
		tape_call(t, "seccomp", TAPE_MUST, SYS_seccomp, T(SECCOMP_SET_MODE_STRICT), T(0),
			T(0));
	return 0;
}

static int early_tell(struct tape *t, const struct arise *a, struct err *err)
{
	return tell_if(t, a, true, err);
}

static int seccomp_tell(struct tape *t, const struct arise *a, struct err *err)
{
	return tell_if(t, a, false, err);
}

const struct facet facet_seccomp_early = {
	.name = "seccomp-early",
	.scope = PER_THREAD,
	.phase = PHASE_CREDS,
	.tell = early_tell,
};

const struct facet facet_seccomp = {
	.name = "seccomp",
	.scope = PER_THREAD,
	.phase = PHASE_LAST,
	.look = seccomp_look,
	.check = seccomp_check,
	.tell = seccomp_tell,
};
