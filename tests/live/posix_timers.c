/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * posix_timers: timers with gaps in their ids, on several clocks: armed, unarmed, periodic with a
 * blocked signal and overruns, for one thread, without notification.
 */
#include "subject.h"
#include <pthread.h>

enum { UNARMED, FAR, PERIODIC, THREAD, NONE, BOOT, TAI, N };

/* The kernel's struct and calls: glibc's ids are not the kernel's. */
struct event {
	uint64_t value;
	int signo, notify, tid, pad[11];
};

static int ids[N];
static volatile int thread_hits, thread_tid, go;

static void on_rt(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)uc;
	if (si->si_code != SI_TIMER || si->si_timerid != ids[THREAD] ||
		(uintptr_t)si->si_value.sival_ptr != 0xabcdef0123456789 ||
		syscall(SYS_gettid) != thread_tid)
		fail("timer signal: code %d id %d", si->si_code, si->si_timerid);
	thread_hits++;
}

static void *thread(void *arg)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 5);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	thread_tid = syscall(SYS_gettid);
	while (!go)
		usleep(1000);
	return arg;
}

static int create(int clock, int notify, int signo, int tid, uint64_t value)
{
	struct event ev = { .value = value, .signo = signo, .notify = notify, .tid = tid };
	int id = -1;

	NEED(syscall(SYS_timer_create, clock, &ev, &id) == 0);
	return id;
}

static void arm(int id, long first, long first_ns, long every, long every_ns)
{
	struct itimerspec it = { { every, every_ns }, { first, first_ns } };

	NEED(syscall(SYS_timer_settime, id, 0, &it, NULL) == 0);
}

static void expect(int id, long least, long most, long every, long every_ns)
{
	struct itimerspec it;

	if (syscall(SYS_timer_gettime, id, &it))
		fail("timer %d: %s", id, strerror(errno));
	if (it.it_value.tv_sec < least || it.it_value.tv_sec > most ||
		it.it_interval.tv_sec != every || it.it_interval.tv_nsec != every_ns)
		fail("timer %d has %ld s left, interval %ld.%09ld", id, it.it_value.tv_sec,
			it.it_interval.tv_sec, it.it_interval.tv_nsec);
}

/* Every timer must be known to /proc as it was; their order is that of a hash table. */
static void timers_compare(const char *before, const char *after)
{
	char one[512];

	CHECK(strlen(before) == strlen(after));
	for (const char *p = before, *end; *p; p = end) {
		end = strstr(p + 1, "\nID: ");
		end = end ? end + 1 : p + strlen(p);
		snprintf(one, sizeof(one), "%.*s", (int)(end - p), p);
		if (!strstr(after, one))
			fail("/proc/self/timers has lost '%s'", one);
	}
}

int main(int argc, char **argv)
{
	static char before[8192], after[8192];
	struct timespec zero = { 0, 0 };
	siginfo_t si = { 0 };
	sigset_t set;
	pthread_t t;
	int hits, gap;

	subject_init(argc, argv);
	handle(SIGRTMIN + 5, on_rt, SA_RESTART);
	block(SIGRTMIN + 5);
	block(SIGUSR1);
	NEED(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!thread_tid)
		usleep(1000);
	ids[UNARMED] = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR2, 0, 1);
	gap = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR2, 0, 1);
	ids[FAR] = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR2, 0, 2);
	ids[PERIODIC] = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGUSR1, 0, 0xfedcba9876543210);
	NEED(syscall(SYS_timer_delete, gap) == 0);
	for (int i = 0; i < 100; i++) {
		gap = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGUSR2, 0, 1);
		NEED(syscall(SYS_timer_delete, gap) == 0);
	}
	ids[THREAD] = create(CLOCK_MONOTONIC, SIGEV_SIGNAL | SIGEV_THREAD_ID, SIGRTMIN + 5,
		thread_tid, 0xabcdef0123456789);
	ids[NONE] = create(CLOCK_REALTIME, SIGEV_NONE, 0, 0, 4);
	ids[BOOT] = create(CLOCK_BOOTTIME, SIGEV_SIGNAL, SIGUSR2, 0, 5);
	ids[TAI] = create(CLOCK_TAI, SIGEV_SIGNAL, SIGUSR2, 0, 6);
	arm(ids[FAR], 5000, 5, 77, 88);
	arm(ids[PERIODIC], 0, 1000000, 0, 1000000);
	arm(ids[THREAD], 0, 5000000, 0, 5000000);
	arm(ids[NONE], 6000, 0, 0, 0);
	arm(ids[BOOT], 7000, 0, 1, 1);
	arm(ids[TAI], 8000, 0, 0, 0);
	usleep(50000); /* a signal waits and overruns count */
	slurp("/proc/self/timers", before, sizeof(before));
	ready();
	wait_term();
	slurp("/proc/self/timers", after, sizeof(after));
	timers_compare(before, after);
	expect(ids[UNARMED], 0, 0, 0, 0);
	expect(ids[FAR], 4000, 5000, 77, 88);
	expect(ids[NONE], 5000, 6000, 0, 0);
	expect(ids[BOOT], 6000, 7000, 1, 1);
	expect(ids[TAI], 7000, 8000, 0, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	SAME(sigtimedwait(&set, &si, &zero), SIGUSR1);
	SAME(si.si_code, SI_TIMER);
	SAME(si.si_timerid, ids[PERIODIC]);
	SAME(si.si_value.sival_ptr, 0xfedcba9876543210);
	/* how many expirations had passed unseen is not told to anybody before the signal is taken */
	CHECK(si.si_overrun >= 0);
	usleep(40000);
	SAME(sigtimedwait(&set, &si, &zero), SIGUSR1);
	SAME(si.si_timerid, ids[PERIODIC]);
	if (si.si_overrun < 20)
		fail("overruns of the periodic timer are %d", si.si_overrun);
	SAME(syscall(SYS_timer_getoverrun, ids[PERIODIC]), si.si_overrun);
	hits = thread_hits;
	for (double end = now() + PATIENCE_MS / 1000; thread_hits < hits + 3 && now() < end;)
		usleep(1000);
	CHECK(thread_hits >= hits + 3);
	go = 1;
	CHECK(pthread_join(t, NULL) == 0);
	pass();
}
