// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of resource limits. Read from /proc/PID/limits; set by the task itself, because changing
 * another's needs CAP_SYS_RESOURCE. Early, soft limits are raised as far as they go, so that the
 * rest can be restored (open files above a limit that was lowered later); the real ones come before
 * credentials.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/proc_limits.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static int rlimits_look(struct look *l, struct err *err)
{
	struct arena *a = l->world->arena;
	TaskCoreEntry *tc = own_tc(l);
	auto_free char *text = NULL;
	struct proc_limits lim;
	TaskRlimitsEntry *e;
	int r = io_slurp_at(l->proc, "limits", &text, NULL);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the limits of task %d", l->tgid);
	r = proc_limits_parse(text, &lim, err);
	if (r < 0)
		return r;
	e = tc->rlimits = arena_msg(a, TaskRlimitsEntry, task_rlimits_entry);
	e->rlimits = arena_array(a, PROC_N_LIMITS, sizeof(*e->rlimits));
	for (; e->n_rlimits < PROC_N_LIMITS; e->n_rlimits++) {
		RlimitEntry *one = arena_msg(a, RlimitEntry, rlimit_entry);

		one->cur = lim.at[e->n_rlimits].cur;
		one->max = lim.at[e->n_rlimits].max;
		e->rlimits[e->n_rlimits] = one;
	}
	return 0;
}

static void rlimits_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const TaskRlimitsEntry *e = tc_of(th) ? tc_of(th)->rlimits : NULL;

	if (e && e->n_rlimits > PROC_N_LIMITS)
		finding_add(f, "rlimits-number", SEV_WARNING, th->task->pid,
			"task %d has %zu resource limits, of which the first %d are used",
			th->task->pid, e->n_rlimits, PROC_N_LIMITS);
	for (size_t i = 0; e && i < e->n_rlimits; i++)
		if (e->rlimits[i]->cur > e->rlimits[i]->max)
			finding_add(f, "rlimits-order", SEV_ERROR, th->task->pid,
				"soft limit %zu of task %d is above its hard limit", i,
				th->task->pid);
}

static void tell_limit(struct tape *t, unsigned number, uint64_t cur, uint64_t max)
{
	const struct rlimit64 l = { cur, max };

	tape_call(t, "rlimits", TAPE_MUST, SYS_setrlimit, T(number),
		T_DATA(tape_data(t, &l, sizeof(l))));
}

/* What we have and a husk has, too, at first. */
struct our_limits {
	struct rlimit64 at[PROC_N_LIMITS];
	bool may_raise;
};

static const struct our_limits *ours_of(const struct arise *a)
{
	struct our_limits *o = a->ours ? table_get(a->ours, (uintptr_t)&facet_rlimits) : NULL;

	if (o)
		return o;
	o = arena_new_of(a->world->arena, struct our_limits);
	for (unsigned i = 0; i < PROC_N_LIMITS; i++)
		if (getrlimit64((__rlimit_resource_t)i, &o->at[i]) < 0)
			o->at[i] = (struct rlimit64){ RLIM64_INFINITY, RLIM64_INFINITY };
	o->may_raise = have_cap(CAP_SYS_RESOURCE);
	if (a->ours)
		table_put(a->ours, (uintptr_t)&facet_rlimits, o);
	return o;
}

static int early_tell(struct tape *t, const struct arise *a, struct err *err)
{
	static const unsigned wide[] = { RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_NPROC,
		RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_SIGPENDING };
	const TaskRlimitsEntry *e = tc_of(a->thread) ? tc_of(a->thread)->rlimits : NULL;
	const struct our_limits *ours = ours_of(a);

	for (size_t i = 0; i < sizeof(wide) / sizeof(*wide); i++) {
		struct rlimit64 now = ours->at[wide[i]];
		uint64_t top = now.rlim_max;

		if (ours->may_raise && e && wide[i] < e->n_rlimits &&
			e->rlimits[wide[i]]->max > top)
			top = e->rlimits[wide[i]]->max;
		if (now.rlim_cur != top || now.rlim_max != top)
			tell_limit(t, wide[i], top, top);
	}
	return 0;
}

static int refuse_raise(
	const struct arise *a, unsigned number, uint64_t want, uint64_t have, struct err *err)
{
	char value[32] = "unlimited";

	if (want != UINT64_MAX)
		snprintf(value, sizeof(value), "%llu", (unsigned long long)want);
	return err_set(err, ERR_KERNEL, EPERM,
		"task %d had the hard limit '%s' = %s, but here it is %llu and cannot be raised "
		"without CAP_SYS_RESOURCE",
		a->thread->task->pid, proc_limit_name(number), value, (unsigned long long)have);
}

static int rlimits_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TaskRlimitsEntry *e = tc_of(a->thread) ? tc_of(a->thread)->rlimits : NULL;
	const struct our_limits *ours = ours_of(a);

	for (unsigned i = 0; e && i < e->n_rlimits && i < PROC_N_LIMITS; i++) {
		const RlimitEntry *want = e->rlimits[i];
		struct rlimit64 have = ours->at[i];

		if (want->max > have.rlim_max && !ours->may_raise)
			return refuse_raise(a, i, want->max, have.rlim_max, err);
		tell_limit(t, i, want->cur, want->max);
	}
	return 0;
}

const struct facet facet_rlimits_early = {
	.name = "rlimits-early",
	.scope = PER_TASK,
	.phase = PHASE_EARLY,
	.tell = early_tell,
};

const struct facet facet_rlimits = {
	.name = "rlimits",
	.scope = PER_TASK,
	.phase = PHASE_CREDS,
	.look = rlimits_look,
	.check = rlimits_check,
	.tell = rlimits_tell,
};
