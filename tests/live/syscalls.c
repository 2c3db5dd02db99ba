/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * syscalls: threads in system calls that the stop interrupts. Calls which restart after a signal
 * without handler must not return before what they wait for happens; those with a relative timeout
 * (nanosleep, poll, futex) may return EINTR as after a handled signal, but neither succeed early
 * nor report anything else.
 */
#include "subject.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sys/select.h>

static int fds[2], full[2];
static volatile int up, go, futex_word, handled;
static volatile int seen; /* by how many the byte was that all wait for and one reads */
enum { WAIT_FOR_BYTE = 4 };
static pthread_barrier_t barrier;
static pid_t kid;

static void enter(void)
{
	__sync_fetch_and_add(&up, 1);
}

static void see(void)
{
	__sync_fetch_and_add(&seen, 1);
}

/* On a slow machine they wake up before the end; no thread shall be missed for that. */
static void stay(void)
{
	while (!go)
		usleep(1000);
}

static void *in_nanosleep(void *arg)
{
	struct timespec left = { 3, 0 }, ask;
	double start = now();
	int r;

	enter();
	do {
		ask = left;
		left.tv_sec = -1;
		r = nanosleep(&ask, &left);
		CHECK(r == 0 || (errno == EINTR && left.tv_sec >= 0 && left.tv_sec < 3));
	} while (r < 0);
	CHECK(now() - start >= 3);
	stay();
	return arg;
}

static void *in_nanosleep_until(void *arg)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 3;
	enter();
	SAME(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL), 0);
	CHECK(now() >= end.tv_sec + end.tv_nsec * 1e-9);
	stay();
	return arg;
}

static void *in_poll(void *arg)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };
	int r;

	enter();
	while ((r = poll(&p, 1, 3600 * 1000)) < 0)
		CHECK(errno == EINTR);
	CHECK(go == 1 && r == 1 && p.revents & POLLIN);
	see();
	return arg;
}

static void *in_poll_forever(void *arg)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };
	int r;

	enter();
	while ((r = poll(&p, 1, -1)) < 0)
		CHECK(errno == EINTR);
	CHECK(go == 1 && r == 1 && p.revents & POLLIN);
	see();
	return arg;
}

static void *in_ppoll(void *arg)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM); /* is the main thread's */
	enter();
	SAME(ppoll(&p, 1, NULL, &set), 1);
	CHECK(go == 1);
	see();
	return arg;
}

static void *in_select(void *arg)
{
	struct timeval tv = { 3600, 0 };
	fd_set r;

	FD_ZERO(&r);
	FD_SET(fds[0], &r);
	enter();
	SAME(select(fds[0] + 1, &r, NULL, NULL, &tv), 1);
	CHECK(go == 1 && FD_ISSET(fds[0], &r) && tv.tv_sec > 3000);
	see();
	return arg;
}

static void *in_futex(void *arg)
{
	long r;

	enter();
	r = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL);
	/* the call that is made again may come after the change of the word */
	CHECK(go == 1 && (r == 0 || errno == EAGAIN));
	return arg;
}

static void *in_futex_timed(void *arg)
{
	struct timespec ts = { 3600, 0 };
	long r;

	enter();
	while ((r = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &ts)) < 0) {
		if (errno == EAGAIN)
			break;
		CHECK(errno == EINTR);
	}
	CHECK(go == 1);
	return arg;
}

static void *in_read(void *arg)
{
	char buf[8];

	enter();
	/* only one reader may find the byte: the others poll for it */
	while (!go || seen < WAIT_FOR_BYTE)
		usleep(1000);
	SAME(read(fds[0], buf, sizeof(buf)), 1);
	return arg;
}

static int lonely[2];

static void *in_read_blocked(void *arg)
{
	char buf[8] = "";

	enter();
	SAME(read(lonely[0], buf, sizeof(buf)), 5);
	CHECK(go == 1 && !memcmp(buf, "bytes", 5));
	return arg;
}

/* A write for which there is no room yet. */
static void *in_write(void *arg)
{
	static char buf[8192];

	memset(buf, 'w', sizeof(buf));
	enter();
	SAME(write(full[1], buf, sizeof(buf)), sizeof(buf));
	CHECK(go == 1);
	return arg;
}

static void on_usr2(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)si, (void)uc;
	handled = 1;
}

static void *in_sigsuspend(void *arg)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGUSR2);
	enter();
	CHECK(sigsuspend(&set) == -1 && errno == EINTR);
	CHECK(go == 1 && handled == 1);
	return arg;
}

static void *in_wait(void *arg)
{
	int status;

	enter();
	SAME(waitpid(kid, &status, 0), kid);
	CHECK(go == 1 && WIFEXITED(status) && WEXITSTATUS(status) == 44);
	return arg;
}

static void *in_barrier(void *arg)
{
	enter();
	pthread_barrier_wait(&barrier);
	CHECK(go == 1);
	return arg;
}

static void sleeper(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	_exit(44);
}

static void *(*const calls[])(void *) = { in_nanosleep, in_nanosleep_until, in_poll,
	in_poll_forever, in_ppoll, in_select, in_futex, in_futex_timed, in_read, in_read_blocked,
	in_write, in_sigsuspend, in_wait, in_barrier };

#define N (int)(sizeof(calls) / sizeof(calls[0]))

static void make_full(void)
{
	static char buf[4096];

	NEED(pipe(full) == 0);
	NEED(fcntl(full[1], F_SETPIPE_SZ, 4096) == 4096);
	NEED(write(full[1], buf, 100) == 100);
}

static void drain(void)
{
	char buf[4096];
	int got = 0;

	while (got < 100 + 8192) {
		ssize_t n = read(full[0], buf, sizeof(buf));

		CHECK(n > 0);
		for (int i = 0; i < n; i++, got++)
			if (buf[i] != (got < 100 ? 0 : 'w'))
				fail("byte %d of the full pipe is %d", got, buf[i]);
	}
}

int main(int argc, char **argv)
{
	pthread_t t[N];

	subject_init(argc, argv);
	handle(SIGUSR2, on_usr2, 0);
	kid = child(sleeper, NULL);
	block(SIGUSR2);
	NEED(pipe(fds) == 0 && pipe(lonely) == 0);
	NEED(pthread_barrier_init(&barrier, NULL, 2) == 0);
	make_full();
	for (int i = 0; i < N; i++)
		NEED(pthread_create(&t[i], NULL, calls[i], NULL) == 0);
	while (up < N)
		usleep(1000);
	usleep(100000);
	ready();
	wait_term();
	usleep(50000); /* those which would return early do so now */
	go = 1;
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(write(lonely[1], "bytes", 5) == 5);
	drain();
	futex_word = 1;
	syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 10);
	CHECK(pthread_kill(t[11], SIGUSR2) == 0);
	CHECK(kill(kid, SIGTERM) == 0);
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < N; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	pass();
}
