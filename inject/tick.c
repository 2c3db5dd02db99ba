// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/tick.h"

enum { TICK_US = 250000 };

/* What it does is to interrupt. */
static void tick(int signo)
{
}

void tick_begin(struct tick *ret)
{
	const struct sigaction action = { .sa_handler = tick }; /* no SA_RESTART */
	const struct itimerval often = { { 0, TICK_US }, { 0, TICK_US } };

	sigaction(SIGALRM, &action, &ret->action);
	setitimer(ITIMER_REAL, &often, &ret->timer);
}

void tick_end(const struct tick *t)
{
	setitimer(ITIMER_REAL, &t->timer, NULL);
	sigaction(SIGALRM, &t->action, NULL);
}
