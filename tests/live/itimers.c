/* SPDX-License-Identifier: GPL-2.0-or-later */
/* itimers: remaining time and interval of the three interval timers; one runs while we wait. */
#include "subject.h"
#include <sys/time.h>

static volatile int alarms;

static void on_alarm(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)si, (void)uc;
	alarms++;
}

static void far_off(void *arg)
{
	struct itimerval it = { { 0, 0 }, { 5000, 123456 } }, got;

	(void)arg;
	NEED(setitimer(ITIMER_REAL, &it, NULL) == 0);
	child_up();
	wait_term();
	CHECK(getitimer(ITIMER_REAL, &got) == 0);
	SAME(got.it_interval.tv_sec, 0);
	SAME(got.it_interval.tv_usec, 0);
	CHECK(got.it_value.tv_sec > 4000 && got.it_value.tv_sec <= 5000);
}

int main(int argc, char **argv)
{
	struct itimerval real = { { 0, 10000 }, { 0, 10000 } }, got;
	struct itimerval virt = { { 7, 70 }, { 3000, 30 } }, prof = { { 8, 80 }, { 4000, 40 } };
	int seen;
	pid_t pid;

	subject_init(argc, argv);
	pid = child(far_off, NULL);
	handle(SIGALRM, on_alarm, SA_RESTART);
	NEED(setitimer(ITIMER_REAL, &real, NULL) == 0);
	NEED(setitimer(ITIMER_VIRTUAL, &virt, NULL) == 0);
	NEED(setitimer(ITIMER_PROF, &prof, NULL) == 0);
	ready();
	wait_term();
	seen = alarms;
	for (double end = now() + PATIENCE_MS / 1000; alarms < seen + 5 && now() < end;)
		usleep(1000);
	CHECK(alarms >= seen + 5);
	CHECK(getitimer(ITIMER_REAL, &got) == 0);
	SAME(got.it_interval.tv_usec, 10000);
	CHECK(getitimer(ITIMER_VIRTUAL, &got) == 0);
	CHECK(got.it_interval.tv_sec == 7 && got.it_interval.tv_usec == 70);
	CHECK(got.it_value.tv_sec >= 2990 && got.it_value.tv_sec <= 3000);
	CHECK(getitimer(ITIMER_PROF, &got) == 0);
	CHECK(got.it_interval.tv_sec == 8 && got.it_interval.tv_usec == 80);
	CHECK(got.it_value.tv_sec >= 3990 && got.it_value.tv_sec <= 4000);
	child_end(pid);
	pass();
}
