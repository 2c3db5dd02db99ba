/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * alarms: a thread without an alternate stack gets signals all the time, whose handler needs room
 * where its stack is. It counts its rounds in the shared file "beats"; its registers are verified.
 */
#include "registers.h"
#include <sys/time.h>

static volatile uint64_t *beats;

static void on_alarm(int signo, siginfo_t *si, void *uc)
{
	volatile uint8_t room[8192];

	(void)si;
	(void)uc;
	room[0] = room[sizeof(room) - 1] = (uint8_t)signo;
	beats[1] += room[0] == room[sizeof(room) - 1];
}

int main(int argc, char **argv)
{
	const struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	static struct registers regs;
	const char *bad;
	sigset_t term;

	subject_init(argc, argv);
	beats = beats_begin();
	handle(SIGALRM, on_alarm, SA_RESTART);
	NEED(setitimer(ITIMER_REAL, &often, NULL) == 0);
	ready();
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	NEED(sigprocmask(SIG_UNBLOCK, &term, NULL) == 0);
	while (!subject_term) {
		registers_fill(&regs, beats[0] * 7);
		registers_spin(&regs, 3000);
		bad = registers_differ(&regs);
		if (bad)
			fail("%s has changed", bad);
		beats[0]++;
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECK(beats[1] > 0);
	pass();
}
