/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * restarts: threads in calls that the kernel would finish by restart_syscall(2), in a program that
 * handles no signal meanwhile and so takes EINTR for an error. None may end with it, none early.
 * One half of the threads were stopped once before by SIGSTOP and are inside of restart_syscall(2);
 * of those the number of the call is known only where it is loaded by `mov $nr,%eax`, as glibc's
 * own functions do and syscall(3) does not.
 */
#include "subject.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>

static sem_t sem;
static int fds[2];
static volatile int up, go, futex_word;

static void enter(void)
{
	__sync_fetch_and_add(&up, 1);
}

/* On a slow machine they wake up before the end; no thread shall be missed for that. */
static void stay(void)
{
	while (!go)
		usleep(1000);
}

static void *in_poll_forever(void *arg)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };

	enter();
	SAME(poll(&p, 1, -1), 1);
	CHECK(go == 1);
	return arg;
}

static void *in_poll(void *arg)
{
	struct pollfd p = { .fd = fds[0], .events = POLLIN };

	enter();
	SAME(poll(&p, 1, 3600 * 1000), 1);
	CHECK(go == 1);
	return arg;
}

static void *in_poll_until(void *arg)
{
	double start = now();

	enter();
	SAME(poll(NULL, 0, 1500), 0);
	CHECK(now() - start >= 1.5);
	stay();
	return arg;
}

/* The kernel writes the rest over what was asked for: nothing of the sleep is repeated. */
static void *in_sleep(void *arg)
{
	enter();
	SAME(sleep(2), 0);
	stay();
	return arg;
}

static void *in_nanosleep(void *arg)
{
	struct timespec ask = { 1, 500000000 };
	double start = now();

	enter();
	SAME(nanosleep(&ask, NULL), 0);
	CHECK(now() - start >= 1.5);
	stay();
	return arg;
}

static void *in_sem(void *arg)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 3600;
	enter();
	SAME(sem_timedwait(&sem, &end), 0);
	CHECK(go == 1);
	return arg;
}

static void *in_futex(void *arg)
{
	struct timespec ts = { 3600, 0 };
	long r;

	enter();
	r = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &ts);
	CHECK(go == 1 && (r == 0 || errno == EAGAIN));
	return arg;
}

static void *(*const calls[])(void *) = { in_poll_forever, in_poll, in_poll_until, in_sleep,
	in_nanosleep, in_sem, in_futex };

#define N (int)(sizeof(calls) / sizeof(calls[0]))
#define N_FIRST (N - 1) /* not the one made by syscall(3) */

/* Stops its parent once and lets it go on. */
static void stopper(void *arg)
{
	(void)arg;
	NEED(kill(getppid(), SIGSTOP) == 0);
	usleep(20000);
	NEED(kill(getppid(), SIGCONT) == 0);
	_exit(0);
}

static void start(pthread_t *t, int n)
{
	int before = up;

	for (int i = 0; i < n; i++)
		NEED(pthread_create(&t[i], NULL, calls[i], NULL) == 0);
	while (up < before + n)
		usleep(1000);
	usleep(50000);
}

int main(int argc, char **argv)
{
	pthread_t first[N_FIRST], second[N];
	int status;
	pid_t pid;

	subject_init(argc, argv);
	NEED(pipe(fds) == 0 && sem_init(&sem, 0, 0) == 0);
	start(first, N_FIRST);
	pid = fork();
	NEED(pid >= 0);
	if (pid == 0)
		stopper(NULL);
	NEED(waitpid(pid, &status, 0) == pid && status == 0);
	start(second, N);
	ready();
	wait_term();
	usleep(50000); /* those which would return early do so now */
	go = 1;
	CHECK(write(fds[1], "x", 1) == 1);
	futex_word = 1;
	syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, 10);
	CHECK(sem_post(&sem) == 0 && sem_post(&sem) == 0);
	for (int i = 0; i < N; i++) {
		CHECK(i >= N_FIRST || pthread_join(first[i], NULL) == 0);
		CHECK(pthread_join(second[i], NULL) == 0);
	}
	pass();
}
