// SPDX-License-Identifier: GPL-2.0-or-later
/* Letting go of the target after the images are complete: killed, stopped or running on. */
#include "base/io.h"
#include "base/log.h"
#include "dump/ctx.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

/* Until the kernel has told us, as tracer, of the end of this thread. */
static void reap(pid_t tid)
{
	int status;

	while (waitpid(tid, &status, __WALL) >= 0 || errno == EINTR)
		if (WIFEXITED(status) || WIFSIGNALED(status))
			return;
}

/*
 * All get SIGKILL before any is waited for, so none sees another one die. The leader's end is
 * reported only after its other threads' ends were taken: those first.
 */
static void kill_all(struct dump *d)
{
	vec_each(s, &d->subjects)
		if (!s->zombie && kill(s->pid, SIGKILL) < 0)
			log_warn("task %d cannot be killed: %s; it stays", s->pid,
				strerror(errno));
	vec_each(s, &d->subjects) {
		for (size_t i = s->n_tracees; i-- > 0;) {
			reap(s->tracees[i].tid);
			s->tracees[i].seized = false;
		}
	}
}

static void stop_all(struct dump *d)
{
	vec_each(s, &d->subjects)
		if (!s->zombie && kill(s->pid, SIGSTOP) < 0)
			log_warn("task %d cannot be stopped: %s; it runs on", s->pid,
				strerror(errno));
}

void dump_let_go(struct dump *d, bool stopped)
{
	if (stopped)
		stop_all(d);
	dump_unlock_network(d);
	dump_unseize(d);
	dump_forget_connections(d);
}

/* Before the images are complete: nothing more is asked of the tasks. */
int dump_resume(void *ctx, struct err *err)
{
	struct dump *d = ctx;

	dump_unlock_network(d);
	dump_unseize(d);
	d->frozen_us = clock_us() - d->seized_us;
	d->released = true;
	return 0;
}

void dump_release(struct dump *d)
{
	if (d->released) {
		dump_forget_connections(d);
		return;
	}
	if (d->o->leave_stopped)
		stop_all(d);
	if (d->o->leave_running || d->o->leave_stopped) {
		dump_unlock_network(d);
		dump_unseize(d);
	} else {
		dump_silence_connections(d);
		kill_all(d);
	}
	dump_forget_connections(d);
	d->frozen_us = clock_us() - d->seized_us;
	if (!d->o->leave_running && !d->o->leave_stopped)
		track_forget_parents(d);
}
