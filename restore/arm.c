// SPDX-License-Identifier: GPL-2.0-or-later
/* The last steps: scratch areas go, registers are set, everyone is let go. */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "kinds/task/task.h"
#include "restore/ctx.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

/* Leaders that were gone go, as long as their area is mapped. */
static int end_leaders(struct restore *rs, struct err *err)
{
	int r = 0;

	world_each_task(t, rs->world)
		if (task_is_alive(t) && t->leader_dead && r == 0)
			r = husk_leader_exit(husk_of(rs, t),
				(int)(t->extra->leader_status >> 8 & 0xff), err);
	return r;
}

static int unmap_areas(struct restore *rs, struct err *err)
{
	struct husk_turn turns[HUSK_TOGETHER];
	size_t n = 0;
	int r = 0;

	world_each_task(t, rs->world) {
		if (!task_is_alive(t) || r < 0)
			continue;
		turns[n++] = (struct husk_turn){ .h = husk_of(rs, t),
			.tid = task_live_thread(t)->real };
		if (n == HUSK_TOGETHER) {
			r = husk_unmap_areas(turns, n, err);
			n = 0;
		}
	}
	return r < 0 ? r : husk_unmap_areas(turns, n, err);
}

static int set_registers(struct restore *rs, struct task *t, struct err *err)
{
	task_each_thread(th, t) {
		struct arise a = { .world = rs->world, .thread = th, .tid = th->real,
			.tgid = husk_of(rs, t)->pid, .options = rs->o, .ours = &rs->ours };
		int r;

		if (th == &t->threads[0] && t->leader_dead)
			continue;
		r = regs_set(&a, err);
		if (r < 0)
			return err_while(err, "setting the registers of thread %d of task %d (%s)",
				th->tid, t->pid, task_comm(t));
	}
	return 0;
}

/* The tracer's processor was shared by all husks; those without a saved mask get ours of before. */
static void unpin(struct restore *rs)
{
	sched_setaffinity(0, sizeof(rs->cpus), &rs->cpus);
	world_each_task(t, rs->world) {
		if (!task_is_alive(t))
			continue;
		task_each_thread(th, t)
			if (!th->extra->has_affinity && th->real)
				sched_setaffinity(th->real, sizeof(rs->cpus), &rs->cpus);
	}
}

static int write_pidfile(struct restore *rs, struct err *err)
{
	auto_close int fd = -1;
	char text[32];
	int n, r;

	if (!rs->o->pidfile)
		return 0;
	fd = openat(rs->workdir_fd, rs->o->pidfile, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "cannot create the pidfile '%s'", rs->o->pidfile);
	rs->pidfile_made = true;
	n = snprintf(text, sizeof(text), "%d", rs->figures->pid);
	r = io_write_all(fd, text, (size_t)n);
	if (r < 0)
		return err_sysn(err, -r, "cannot write the pidfile '%s'", rs->o->pidfile);
	return 0;
}

/* A stop signal that is pending when we detach stops the task before its first instruction. */
static int stop_task(struct restore *rs, const struct task *t, struct err *err)
{
	if (t->state != TASK_STOPPED && !rs->o->leave_stopped)
		return 0;
	if (kill(husk_of(rs, t)->pid, SIGSTOP) < 0)
		return err_sys(err, "cannot stop task %d", t->pid);
	return 0;
}

int restore_arm(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	int r;

	unpin(rs);
	r = end_leaders(rs, err);
	if (r == 0)
		r = unmap_areas(rs, err);
	world_each_task(t, rs->world)
		if (task_is_alive(t) && r == 0)
			r = set_registers(rs, t, err);
	rs->figures->pid = rs->husks[0].pid;
	world_each_task(t, rs->world)
		if (task_is_alive(t) && r == 0)
			r = stop_task(rs, t, err);
	return r < 0 ? r : write_pidfile(rs, err);
}

void restore_disarm(void *ctx)
{
	struct restore *rs = ctx;

	if (rs->pidfile_made)
		unlinkat(rs->workdir_fd, rs->o->pidfile, 0);
}

/*
 * Whether torpor's death is theirs, too. They are armed: nothing but ptrace holds them. Tied again is
 * who still can be.
 */
static int tie(struct restore *rs, bool tied, struct err *err)
{
	uintptr_t options = tied ? PTRACE_O_EXITKILL : 0;

	world_each_task(t, rs->world) {
		if (!task_is_alive(t))
			continue;
		task_each_thread(th, t) {
			if (th == &t->threads[0] && t->leader_dead)
				continue;
			if (ptrace(PTRACE_SETOPTIONS, th->real, NULL, (void *)options) < 0 && !tied)
				return err_sys(err, "cannot set options of thread %d of task %d (%s)",
					th->tid, t->pid, task_comm(t));
		}
	}
	return 0;
}

int restore_free(void *ctx, struct err *err)
{
	return tie(ctx, false, err);
}

void restore_unfree(void *ctx)
{
	struct err ignored = ERR_INIT;

	(void)!tie(ctx, true, &ignored);
}

static void detach_task(struct restore *rs, const struct task *t)
{
	task_each_thread(th, t) {
		if (th == &t->threads[0] && t->leader_dead)
			continue;
		if (ptrace(PTRACE_DETACH, th->real, NULL, NULL) < 0)
			log_warn("cannot detach from thread %d: %s", th->real, strerror(errno));
	}
	husk_done(husk_of(rs, t));
	rs->husk_lives[t->index] = false;
}

void restore_depart(struct restore *rs)
{
	world_each_task(t, rs->world)
		if (task_is_alive(t))
			detach_task(rs, t);
}

int restore_wait(pid_t pid, int *ret_status, struct err *err)
{
	while (waitpid(pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, "cannot wait for task %d", pid);
	return 0;
}
