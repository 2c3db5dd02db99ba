/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * expiries: timers of a few milliseconds that expire once (setitimer(2), timer_create(2), for the
 * process or a thread, timerfd_create(2)), set again and again. Each expiry must bring exactly one
 * signal, or tick: one that gets lost makes its process hang, one too many is a FAIL. Each process
 * counts in the shared file "beats".
 */
#include "subject.h"
#include <sys/time.h>
#include <sys/timerfd.h>

enum { KIDS = 12, THREAD_ID = 4 /* SIGEV_THREAD_ID */ };

static volatile uint64_t *beats;
static volatile sig_atomic_t arrived;

static void on_expiry(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)si, (void)uc;
	arrived++;
}

static int signal_of(int kid)
{
	return kid % 4 == 0 ? SIGALRM : SIGRTMIN + kid;
}

/* As the kernel has it: the C library hides the thread id. */
static int timer_make(int kid)
{
	struct {
		uint64_t value;
		int signo, notify, tid, pad[11];
	} e = { .signo = signal_of(kid), .notify = kid % 4 == 1 ? SIGEV_SIGNAL : THREAD_ID,
		.tid = getpid() };
	int id;

	NEED(syscall(SYS_timer_create, CLOCK_MONOTONIC, &e, &id) == 0);
	return id;
}

static void arm(int kid, int timer, long us)
{
	struct itimerval it = { { 0, 0 }, { 0, us } };
	struct itimerspec ts = { { 0, 0 }, { 0, us * 1000 } };

	if (kid % 4 == 0)
		CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
	else
		CHECK(syscall(SYS_timer_settime, timer, 0, &ts, NULL) == 0);
}

static bool is_armed(int kid, int timer)
{
	struct itimerval it;
	struct itimerspec ts;

	if (kid % 4 == 0) {
		CHECK(getitimer(ITIMER_REAL, &it) == 0);
		return it.it_value.tv_sec || it.it_value.tv_usec;
	}
	CHECK(syscall(SYS_timer_gettime, timer, &ts) == 0);
	return ts.it_value.tv_sec || ts.it_value.tv_nsec;
}

static void expire_once(int kid, int timer, long us)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	sigdelset(&set, signal_of(kid));
	sigdelset(&set, SIGTERM);
	arrived = 0;
	arm(kid, timer, us);
	while (!arrived)
		sigsuspend(&set);
	if (is_armed(kid, timer))
		fail("timer of child %d runs after its expiry", kid);
	usleep(500);
	sigpending(&set);
	if (arrived != 1 || sigismember(&set, signal_of(kid)))
		fail("one expiry of child %d brought more than one signal", kid);
}

static void tick_once(int kid, int fd, long us)
{
	struct itimerspec ts = { { 0, 0 }, { 0, us * 1000 } };
	uint64_t ticks = 0;
	ssize_t n;

	CHECK(timerfd_settime(fd, 0, &ts, NULL) == 0);
	n = read(fd, &ticks, sizeof(ticks));
	if (n != sizeof(ticks) || ticks != 1)
		fail("read of child %d gives %zd (%s), %lu ticks", kid, n, strerror(errno), ticks);
	CHECK(timerfd_gettime(fd, &ts) == 0);
	if (ts.it_value.tv_sec || ts.it_value.tv_nsec)
		fail("timer of child %d runs after its expiry", kid);
	usleep(500);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (read(fd, &ticks, sizeof(ticks)) >= 0)
		fail("one expiry of child %d brought more than one tick", kid);
	fcntl(fd, F_SETFL, 0);
}

static void kid(void *arg)
{
	int n = (int)(intptr_t)arg;
	int timer = n % 4 == 0 ? -1 : n % 4 == 3 ? timerfd_create(CLOCK_BOOTTIME, 0) : timer_make(n);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	block(signal_of(n));
	handle(signal_of(n), on_expiry, 0);
	child_up();
	while (!subject_term) {
		long us = 500 + (long)(beats[n] * 7919 + (uint64_t)n * 1237) % 15000;

		if (n % 4 == 3)
			tick_once(n, timer, us);
		else
			expire_once(n, timer, us);
		beats[n]++;
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		sigprocmask(SIG_BLOCK, &set, NULL);
	}
}

int main(int argc, char **argv)
{
	pid_t kids[KIDS];
	int fd;

	subject_init(argc, argv);
	fd = open("beats", O_RDWR | O_CREAT, 0600);
	NEED(fd >= 0 && ftruncate(fd, 4096) == 0);
	beats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(beats != MAP_FAILED);
	close(fd);
	for (intptr_t i = 0; i < KIDS; i++)
		kids[i] = child(kid, (void *)i);
	ready();
	wait_term();
	for (int i = 0; i < KIDS; i++)
		child_end(kids[i]);
	pass();
}
