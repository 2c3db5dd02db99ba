/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /proc/PID/timers: the POSIX timers of a process (show_timer() in fs/proc/base.c). */
#pragma once
#include "base/err.h"
#include "base/parse.h"
#include <stdint.h>
#include <sys/types.h>

struct proc_timer {
	int32_t id;
	int32_t signo;
	uint64_t sival; /* sigev_value */
	int32_t notify; /* SIGEV_SIGNAL 0, SIGEV_NONE 1, SIGEV_THREAD 2, SIGEV_THREAD_ID 4 */
	pid_t target;	/* process or thread, as the reader's pid namespace calls it */
	int32_t clock;
};

/*
 * Takes the next timer of the text: 1, at the end 0, or an error. The kernel hides nothing but
 * what remains of the time and the overruns (timer_gettime(2), timer_getoverrun(2)).
 */
int proc_timers_next(struct cursor *c, struct proc_timer *ret, struct err *err) must_use;
