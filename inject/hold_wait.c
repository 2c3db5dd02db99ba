// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Waiting for a held thread with an end. Most stops come within microseconds, so the wait itself
 * must cost nothing: it blocks, and a timer interrupts it now and then to look at the clock.
 */
#include "base/io.h"
#include "inject/hold_priv.h"
#include "kernel/cgroup2.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>

struct hold_tick {
	struct sigaction action;
	struct itimerval timer;
};

/* What it does is to interrupt. */
static void tick(int signal)
{
}

struct hold_tick *hold_tick_begin(unsigned patience_s)
{
	const struct sigaction action = { .sa_handler = tick }; /* no SA_RESTART */
	const struct itimerval often = { { 0, 250000 }, { 0, 250000 } };
	struct hold_tick *t = patience_s ? calloc(1, sizeof(*t)) : NULL;

	if (!t)
		return NULL;
	sigaction(SIGALRM, &action, &t->action);
	setitimer(ITIMER_REAL, &often, &t->timer);
	return t;
}

void hold_tick_end(struct hold_tick *take)
{
	if (!take)
		return;
	setitimer(ITIMER_REAL, &take->timer, NULL);
	sigaction(SIGALRM, &take->action, NULL);
	free(take);
}

static int err_late(struct err *err, pid_t tid)
{
	struct cgroup2 group;

	if (cgroup2_of_task(tid, &group) && cgroup2_is_frozen(&group))
		return err_target(err, ETIMEDOUT, "task %d cannot be asked about itself: its control "
			"group '%.300s' is frozen; thaw it (cgroup.freeze)", tid, group.folder);
	return err_target(err, ETIMEDOUT, "task %d does not run within --timeout to be asked about "
		"itself: it gets no time on a processor, or is busy inside the kernel", tid);
}

int hold_wait(struct hold *h, pid_t tid, int *ret_status, struct err *err)
{
	uint64_t end = h->patience_s ? clock_us() + 1000000ull * h->patience_s : UINT64_MAX;
	siginfo_t news;

	while (waitid(P_PID, (id_t)tid, &news, WSTOPPED | WEXITED | WNOWAIT | __WALL) < 0 &&
		errno == EINTR) {
		if (clock_us() < end)
			continue;
		h->adrift = true;
		return err_late(err, tid);
	}
	return tracee_wait(tid, ret_status, err);
}
