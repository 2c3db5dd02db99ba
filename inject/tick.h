/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A wait that costs nothing more and still has an end: system calls that wait return EINTR four
 * times a second, and who made them looks at the clock. SIGALRM and ITIMER_REAL are in use meanwhile.
 */
#pragma once
#include <signal.h>
#include <sys/time.h>

/* What was before. */
struct tick {
	struct sigaction action;
	struct itimerval timer;
};

void tick_begin(struct tick *ret);
void tick_end(const struct tick *t);
