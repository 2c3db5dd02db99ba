/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vdso: clock_gettime, gettimeofday, time and getcpu by the vdso work, agree with the system calls
 * and never run backwards, in threads that call them all the time, also through the freeze.
 */
#include "subject.h"
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/time.h>

static volatile int up, go;
static volatile unsigned long calls;

static double raw(int clock)
{
	struct timespec ts;

	CHECK(syscall(SYS_clock_gettime, clock, &ts) == 0);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static double by_vdso(int clock)
{
	struct timespec ts;

	CHECK(clock_gettime(clock, &ts) == 0);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* vdso between two system calls. */
static void agree(int clock)
{
	double a = raw(clock), b = by_vdso(clock), c = raw(clock);

	/* coarse clocks tick; doubles of the time of day round */
	if (b < a - 0.011 || b > c + 0.000002)
		fail("clock %d: %.9f by vdso, %.9f and %.9f by system calls", clock, b, a, c);
}

/* gettimeofday, and time, which ticks: each between two looks at the same clock. */
static void agree_of_day(void)
{
	double a = raw(CLOCK_REALTIME), b, c;
	struct timeval tv;
	long from, t, to;

	CHECK(gettimeofday(&tv, NULL) == 0);
	b = tv.tv_sec + tv.tv_usec * 1e-6;
	c = raw(CLOCK_REALTIME);
	if (b < a - 0.000002 || b > c + 0.000002)
		fail("gettimeofday: %.6f by vdso, %.6f and %.6f by system calls", b, a, c);
	from = syscall(SYS_time, NULL);
	t = time(NULL);
	to = syscall(SYS_time, NULL);
	if (t < from || t > to)
		fail("time: %ld by vdso, %ld and %ld by system calls", t, from, to);
}

static void *caller(void *arg)
{
	double last = by_vdso(CLOCK_MONOTONIC);
	unsigned cpu;

	__sync_fetch_and_add(&up, 1);
	while (!go) {
		double t = by_vdso(CLOCK_MONOTONIC);

		if (t < last)
			fail("the monotonic clock ran back from %.9f to %.9f", last, t);
		last = t;
		CHECK(getcpu(&cpu, NULL) == 0 && cpu < 4096);
		calls++;
	}
	return arg;
}

int main(int argc, char **argv)
{
	static const int clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
		CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE };
	unsigned long base = getauxval(AT_SYSINFO_EHDR), seen;
	double before, after;
	pthread_t t[2];

	subject_init(argc, argv);
	for (int i = 0; i < 2; i++)
		NEED(pthread_create(&t[i], NULL, caller, NULL) == 0);
	while (up < 2)
		usleep(1000);
	before = by_vdso(CLOCK_MONOTONIC);
	ready();
	wait_term();
	after = by_vdso(CLOCK_MONOTONIC);
	CHECK(after > before && after < before + 600);
	SAME(getauxval(AT_SYSINFO_EHDR), base);
	for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++)
		agree(clocks[i]);
	agree_of_day();
	seen = calls;
	for (double end = now() + PATIENCE_MS / 1000; calls < seen + 1000 && now() < end;)
		usleep(100);
	CHECK(calls >= seen + 1000);
	go = 1;
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	pass();
}
