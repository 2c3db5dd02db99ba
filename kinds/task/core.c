// SPDX-License-Identifier: GPL-2.0-or-later
/* The core message of a thread and small helpers of the family. */
#include "kinds/task/family.h"
#include <linux/capability.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static char *empty_text(struct arena *a)
{
	return arena_strdup(a, "");
}

static void ensure_tc(struct arena *a, struct thread *th)
{
	TaskCoreEntry *tc = th->core->tc;

	if (tc)
		return;
	tc = th->core->tc = arena_msg(a, TaskCoreEntry, task_core_entry);
	tc->task_state = (uint32_t)th->task->state;
	tc->comm = empty_text(a);
}

void core_ensure(struct world *w, struct thread *th)
{
	struct arena *a = w->arena;
	CoreEntry *core = th->core;

	core->mtype = CORE_ENTRY__MARCH__X86_64;
	if (is_leader(th))
		ensure_tc(a, th);
	if (!task_is_alive(th->task) || (is_leader(th) && th->task->leader_dead))
		return;
	if (!core->thread_core)
		core->thread_core = arena_msg(a, ThreadCoreEntry, thread_core_entry);
	if (!core->thread_info) {
		ThreadInfoX86 *info = arena_msg(a, ThreadInfoX86, thread_info_x86);

		info->gpregs = arena_msg(a, UserX86RegsEntry, user_x86_regs_entry);
		info->fpregs = arena_msg(a, UserX86FpregsEntry, user_x86_fpregs_entry);
		core->thread_info = info;
	}
}

TaskCoreEntry *own_tc(struct look *l)
{
	struct thread *leader = &l->thread->task->threads[0];

	core_ensure(l->world, leader);
	return leader->core->tc;
}

ThreadCoreEntry *own_core(struct look *l)
{
	core_ensure(l->world, l->thread);
	return l->thread->core->thread_core;
}

TaskTimersEntry *own_timers(struct look *l)
{
	TaskCoreEntry *tc = own_tc(l);
	struct arena *a = l->world->arena;

	if (!tc->timers) {
		tc->timers = arena_msg(a, TaskTimersEntry, task_timers_entry);
		tc->timers->real = arena_msg(a, ItimerEntry, itimer_entry);
		tc->timers->virt = arena_msg(a, ItimerEntry, itimer_entry);
		tc->timers->prof = arena_msg(a, ItimerEntry, itimer_entry);
	}
	return tc->timers;
}

const char *thread_name(const struct thread *th, char *buf, size_t size)
{
	if (is_leader(th))
		snprintf(buf, size, "task %d (%s)", th->task->pid, task_comm(th->task));
	else
		snprintf(buf, size, "thread %d of task %d (%s)", th->tid, th->task->pid,
			task_comm(th->task));
	return buf;
}

int look_status(const struct look *l, struct proc_status *ret, struct err *err)
{
	int r = proc_status_parse(l->status, ret, err);

	return r < 0 ? err_while(err, "looking at thread %d", l->tid) : 0;
}

bool have_cap(unsigned cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &head, data) < 0)
		return false;
	return data[cap / 32].effective >> cap % 32 & 1;
}
