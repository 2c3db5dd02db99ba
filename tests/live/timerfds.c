/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * timerfds: every clock; disarmed, relative and absolute, once and periodic, far and expired with
 * ticks that nobody has read; cancelled when the clock is set; with owner and signal.
 */
#include "descriptors.h"
#include <sys/timerfd.h>

enum { FAR = 50000 };

static const int clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME,
	CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM };
enum { CLOCKS = sizeof(clocks) / sizeof(clocks[0]) };
enum { IDLE, ONCE, EVERY, AT, SHOT, TICKING, PASSED, KINDS };

static int timers[CLOCKS][KINDS];
static int cancelled;

static struct timespec in(int clock, long seconds)
{
	struct timespec now;

	NEED(clock_gettime(clock == CLOCK_REALTIME_ALARM ? CLOCK_REALTIME :
		clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME : clock, &now) == 0);
	now.tv_sec += seconds;
	return now;
}

static void set(int fd, int flags, struct timespec value, struct timespec interval)
{
	struct itimerspec its = { .it_interval = interval, .it_value = value };

	NEED(timerfd_settime(fd, flags, &its, NULL) == 0);
}

/* Alarm clocks need CAP_WAKE_ALARM. */
static bool make(int which)
{
	const struct timespec none = { 0 };
	int clock = clocks[which], *t = timers[which];

	for (int i = 0; i < KINDS; i++) {
		t[i] = timerfd_create(clock, i % 2 ? TFD_NONBLOCK : TFD_NONBLOCK | TFD_CLOEXEC);
		if (t[i] < 0)
			return false;
	}
	set(t[ONCE], 0, (struct timespec){ FAR, 5 }, none);
	set(t[EVERY], 0, (struct timespec){ FAR, 5 }, (struct timespec){ 7, 8 });
	set(t[AT], TFD_TIMER_ABSTIME, in(clock, FAR), (struct timespec){ 9, 0 });
	set(t[SHOT], 0, (struct timespec){ 0, 1000 }, none);
	set(t[TICKING], 0, (struct timespec){ 0, 1000 }, (struct timespec){ 0, 20000000 });
	set(t[PASSED], TFD_TIMER_ABSTIME, in(clock, -1), none);
	return true;
}

/* The remaining seconds are about what they were; the interval is what it was. */
static void check_left(int fd, long seconds, long interval_s, long interval_ns)
{
	struct itimerspec its;

	CHECK(timerfd_gettime(fd, &its) == 0);
	if (its.it_value.tv_sec > seconds || its.it_value.tv_sec < seconds - 600)
		fail("timer %d has %ld s left, not about %ld", fd, (long)its.it_value.tv_sec, seconds);
	SAME(its.it_interval.tv_sec, interval_s);
	SAME(its.it_interval.tv_nsec, interval_ns);
}

static uint64_t ticks_of(int fd)
{
	uint64_t n = 0;

	if (read(fd, &n, sizeof(n)) < 0)
		CHECK(errno == EAGAIN);
	return n;
}

static void check(int which)
{
	const int *t = timers[which];
	struct itimerspec its;

	CHECK(timerfd_gettime(t[IDLE], &its) == 0);
	CHECK(!its.it_value.tv_sec && !its.it_value.tv_nsec);
	SAME(ticks_of(t[IDLE]), 0);
	check_left(t[ONCE], FAR, 0, 0);
	check_left(t[EVERY], FAR, 7, 8);
	check_left(t[AT], FAR, 9, 0);
	SAME(ticks_of(t[EVERY]), 0);
	SAME(ticks_of(t[SHOT]), 1);
	SAME(ticks_of(t[SHOT]), 0);
	SAME(ticks_of(t[PASSED]), 1);
	CHECK(ticks_of(t[TICKING]) >= 2);
	usleep(45000);
	CHECK(ticks_of(t[TICKING]) >= 1);
}

int main(int argc, char **argv)
{
	struct fd_note notes[CLOCKS][KINDS], note;
	bool have[CLOCKS];
	char path[64], text[1024];

	subject_init(argc, argv);
	for (int i = 0; i < CLOCKS; i++)
		have[i] = make(i);
	NEED(have[0] && have[1] && have[2]);
	cancelled = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
	NEED(cancelled >= 0);
	set(cancelled, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, in(CLOCK_REALTIME, FAR),
		(struct timespec){ 0 });
	NEED(fcntl(cancelled, F_SETOWN, getpid()) == 0 && fcntl(cancelled, F_SETSIG, SIGUSR2) == 0);
	usleep(60000); /* what is to expire has, more than once */
	for (int i = 0; i < CLOCKS; i++)
		for (int k = 0; have[i] && k < KINDS; k++)
			fd_note(&notes[i][k], timers[i][k]);
	fd_note(&note, cancelled);
	ready();
	wait_term();
	for (int i = 0; i < CLOCKS; i++)
		for (int k = 0; have[i] && k < KINDS; k++)
			fd_check(&notes[i][k], timers[i][k], false);
	fd_check(&note, cancelled, false);
	for (int i = 0; i < CLOCKS; i++)
		if (have[i])
			check(i);
	check_left(cancelled, FAR, 0, 0);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", cancelled);
	slurp(path, text, sizeof(text));
	CHECK(strstr(text, "settime flags: 03"));
	pass();
}
