/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * churn: processes and threads that come and go all the time, each in another way. A worker makes
 * one child after the other, waits for it, checks how it ended and counts in the shared file
 * "beats", so that one which hangs is seen from outside. Any mistake is a FAIL.
 */
#include "subject.h"
#include <pthread.h>

enum { EXIT, KILLED, IGNORED, GROUP, LEADER, PROGRAM, VFORK, SPAWNED, THREADS, WORKERS };
enum { CROWD = 30 };

static volatile uint64_t *beats;

static void nap(void)
{
	const uint64_t n = beats ? beats[EXIT] : (uint64_t)getpid();
	const struct timespec moment = { .tv_nsec = (long)(n * 7919 % 300) * 1000 };

	nanosleep(&moment, NULL);
}

static int await(pid_t pid)
{
	NEED(pid > 0);
	return child_reap(pid);
}

static void by_exit(uint64_t n)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit((int)(n % 200));
	SAME(await(pid), n % 200 << 8);
}

static void by_signal(uint64_t n)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(1);
	}
	nap();
	CHECK(kill(pid, SIGKILL) == 0);
	SAME(await(pid), SIGKILL);
}

/* Nobody waits for these: the kernel takes them away at once. */
static void unseen(uint64_t n)
{
	pid_t pid;

	signal(SIGCHLD, SIG_IGN);
	pid = fork();
	if (pid == 0)
		_exit(0);
	CHECK(waitpid(pid, NULL, 0) < 0 && errno == ECHILD);
	signal(SIGCHLD, SIG_DFL);
}

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *all_exit(void *arg)
{
	nap();
	_exit((int)(intptr_t)arg);
}

static void *one_exits(void *arg)
{
	nap();
	return arg;
}

static void *other_program(void *arg)
{
	nap();
	execl("/proc/self/exe", "churn", subject_result, (char *)arg, NULL);
	_exit(100 + errno);
}

static void start(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	NEED(pthread_create(&t, NULL, fn, arg) == 0);
}

/* One of several threads ends them all. */
static void by_thread(uint64_t n)
{
	pid_t pid = fork();

	if (pid == 0) {
		start(sleeper, NULL);
		start(all_exit, (void *)(intptr_t)(n % 200));
		start(sleeper, NULL);
		sleeper(NULL);
	}
	SAME(await(pid), n % 200 << 8);
}

/* The leader ends first, the others a little later. */
static void by_leader(uint64_t n)
{
	pid_t pid = fork();

	if (pid == 0) {
		start(one_exits, NULL);
		start(all_exit, (void *)(intptr_t)(n % 200));
		pthread_exit(NULL);
	}
	SAME(await(pid), n % 200 << 8);
}

/*
 * One of many threads becomes another program, whose number is the leader's; this one does the same
 * for every 1000 in its argument, before it exits with the rest.
 */
static void become(int n)
{
	char next[16];

	if (n < 1000)
		_exit(n);
	snprintf(next, sizeof(next), "%d", n - 1000);
	/* first these: while a thread is in execve(), pthread_create() fails (kernel/fork.c copy_fs) */
	for (int i = 0; i < CROWD; i++)
		start(sleeper, NULL);
	start(other_program, next);
	sleeper(NULL);
}

static void by_program(uint64_t n)
{
	pid_t pid = fork();

	if (pid == 0)
		become(3037);
	SAME(await(pid), 37 << 8);
}

static void by_vfork(uint64_t n)
{
	pid_t pid = vfork();

	if (pid == 0) {
		nap();
		execl("/proc/self/exe", "churn", subject_result, "38", NULL);
		_exit(99);
	}
	SAME(await(pid), 38 << 8);
}

/* A program that has children of its own, which outlive it. */
static void by_orphans(uint64_t n)
{
	pid_t pid = fork(), orphan;

	if (pid == 0) {
		for (int i = 0; i < 3; i++) {
			if (fork() == 0) {
				nap();
				_exit(i);
			}
		}
		_exit(0);
	}
	SAME(await(pid), 0);
	for (int i = 0; i < 3; i++) {
		orphan = waitpid(-1, NULL, 0);
		CHECK(orphan > 0);
	}
}

/* Threads of the worker itself. */
static void by_threads(uint64_t n)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		NEED(pthread_create(&t[i], NULL, one_exits, &t[i]) == 0);
	for (int i = 0; i < 4; i++) {
		void *got = NULL;

		CHECK(pthread_join(t[i], &got) == 0 && got == &t[i]);
	}
}

static void (*const ways[WORKERS])(uint64_t) = {
	[EXIT] = by_exit, [KILLED] = by_signal, [IGNORED] = unseen, [GROUP] = by_thread,
	[LEADER] = by_leader, [PROGRAM] = by_program, [VFORK] = by_vfork, [SPAWNED] = by_orphans,
	[THREADS] = by_threads,
};

static void worker(void *arg)
{
	int way = (int)(intptr_t)arg;
	sigset_t set;

	NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	child_up();
	while (!subject_term) {
		ways[way](beats[way]);
		beats[way]++;
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		sigprocmask(SIG_BLOCK, &set, NULL);
	}
}

static void open_beats(void)
{
	int fd = open("beats", O_RDWR | O_CREAT, 0600);

	NEED(fd >= 0 && ftruncate(fd, 4096) == 0);
	beats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(beats != MAP_FAILED);
	close(fd);
}

int main(int argc, char **argv)
{
	pid_t kids[WORKERS];

	subject_init(argc, argv);
	if (argc > 2)
		become(atoi(argv[2]));
	open_beats();
	for (intptr_t i = 0; i < WORKERS; i++)
		kids[i] = child(worker, (void *)i);
	ready();
	wait_term();
	for (int i = 0; i < WORKERS; i++)
		child_end(kids[i]);
	pass();
}
