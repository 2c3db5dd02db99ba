// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/interrupt.h"
#include <signal.h>
#include <string.h>
#include <time.h>

static const int watched[] = { SIGINT, SIGTERM, SIGHUP };
enum { N_WATCHED = sizeof(watched) / sizeof(*watched) };

static struct {
	volatile sig_atomic_t came; /* the signal, or 0 */
	volatile sig_atomic_t held;
	bool has_timer;
	timer_t grace;
} interrupt;

static void come(int signo)
{
	const struct itimerspec grace = { .it_value.tv_sec = INTERRUPT_GRACE_S };

	if (!interrupt.held)
		interrupt.came = signo;
	for (size_t i = 0; i < N_WATCHED; i++)
		signal(watched[i], SIG_DFL);
	if (interrupt.has_timer && !interrupt.held)
		timer_settime(interrupt.grace, 0, &grace, NULL);
}

/* Where the signal kills, or is watched already. */
static void install(int flags)
{
	struct sigaction old, action = { .sa_handler = come, .sa_flags = flags };

	/* they wait for each other, or the second one would find the first one's work half done */
	for (size_t i = 0; i < N_WATCHED; i++)
		sigaddset(&action.sa_mask, watched[i]);
	for (size_t i = 0; i < N_WATCHED; i++)
		if (sigaction(watched[i], NULL, &old) == 0 &&
			(old.sa_handler == SIG_DFL || old.sa_handler == come))
			sigaction(watched[i], &action, NULL);
}

static void make_timer(void)
{
	struct sigevent end = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM };

	interrupt.has_timer = timer_create(CLOCK_MONOTONIC, &end, &interrupt.grace) == 0;
}

void interrupt_watch(void)
{
	make_timer();
	install(0);
}

void interrupt_go_on(void)
{
	if (interrupt.has_timer)
		make_timer();
}

void interrupt_hold(void)
{
	const struct itimerspec never = { 0 };

	interrupt.held = true;
	interrupt.came = 0;
	if (interrupt.has_timer)
		timer_settime(interrupt.grace, 0, &never, NULL);
	install(SA_RESTART);
}

void interrupt_unwatch(void)
{
	struct sigaction now;

	interrupt.held = false;
	for (size_t i = 0; i < N_WATCHED; i++)
		if (sigaction(watched[i], NULL, &now) == 0 && now.sa_handler == come)
			signal(watched[i], SIG_DFL);
	if (interrupt.has_timer)
		timer_delete(interrupt.grace);
	interrupt.has_timer = false;
}

bool interrupt_came(void)
{
	return interrupt.came != 0;
}

int interrupt_check(struct err *err)
{
	int signo = interrupt.came;

	return signo ? err_set(err, ERR_RESOURCE, EINTR, "interrupted by SIG%s: everything was taken "
		"back", sigabbrev_np(signo)) : 0;
}

void interrupt_pass_on(void)
{
	int signo = interrupt.came;

	if (!signo)
		return;
	signal(signo, SIG_DFL);
	raise(signo);
}
