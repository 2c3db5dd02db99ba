// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of names and the general state of tasks: comm of every thread, and of the task its
 * state and PF_* flags. A dead leader's name stands in tc, too.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/proc_stat.h"
#include "kinds/task/family.h"
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { COMM_LEN = 16 };

static int look_task(struct look *l, const struct proc_stat *own, struct err *err)
{
	TaskCoreEntry *tc = own_tc(l);
	auto_free char *text = NULL;
	struct proc_stat st = *own;
	int r;

	if (!is_leader(l->thread)) {
		r = io_slurpf(&text, NULL, "/proc/%d/stat", l->tgid);
		if (r < 0)
			return err_sysn(err, -r, "cannot read /proc/%d/stat", l->tgid);
		r = proc_stat_parse(text, &st, err);
		if (r < 0)
			return r;
	}
	tc->task_state = (uint32_t)l->thread->task->state;
	tc->flags = st.flags;
	tc->comm = arena_strdup(l->world->arena, st.comm);
	return 0;
}

static int state_look(struct look *l, struct err *err)
{
	ThreadCoreEntry *core = own_core(l);
	struct proc_stat st;
	int r = proc_stat_parse(l->stat, &st, err);

	if (r < 0)
		return r;
	core->comm = arena_strdup(l->world->arena, st.comm);
	return is_speaker(l->thread) ? look_task(l, &st, err) : 0;
}

static void check_live(const struct thread *th, struct findings *f)
{
	const CoreEntry *core = th->core;

	if (core->mtype != CORE_ENTRY__MARCH__X86_64)
		finding_add(f, "core-machine", SEV_ERROR, th->task->pid,
			"thread %d was saved on another kind of processor", th->tid);
	else if (!core->thread_core || !core->thread_info)
		finding_add(f, "core-incomplete", SEV_ERROR, th->task->pid,
			"core image of thread %d lacks registers or thread state", th->tid);
}

static void state_check(const struct world *w, const struct thread *th, struct findings *f)
{
	if (is_leader(th) && !th->core->tc)
		finding_add(f, "core-incomplete", SEV_ERROR, th->task->pid,
			"core image of task %d lacks the part of the whole task", th->task->pid);
	if (task_is_alive(th->task) && !(is_leader(th) && th->task->leader_dead))
		check_live(th, f);
}

static void tell_name(struct tape *t, const char *comm)
{
	char name[COMM_LEN] = { 0 };

	if (!comm)
		return;
	memcpy(name, comm, strnlen(comm, sizeof(name) - 1));
	tape_call(t, "state", TAPE_MUST, SYS_prctl, T(PR_SET_NAME),
		T_DATA(tape_data(t, name, sizeof(name))));
}

static int state_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;
	const TaskCoreEntry *tc = tc_of(a->thread);

	tell_name(t, core && core->comm ? core->comm : tc ? tc->comm : NULL);
	return 0;
}

/* A dead leader is not among the threads that are told; its name outlives it. */
static int leader_tell(struct tape *t, const struct arise *a, struct err *err)
{
	if (a->thread->task->leader_dead && tc_of(a->thread))
		tell_name(t, tc_of(a->thread)->comm);
	return 0;
}

const struct facet facet_state = {
	.name = "state",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.look = state_look,
	.check = state_check,
	.tell = state_tell,
};

const struct facet facet_leader_name = {
	.name = "leader-name",
	.scope = PER_TASK,
	.phase = PHASE_TASK,
	.tell = leader_tell,
};
