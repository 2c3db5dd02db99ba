/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vforks: threads that wait in vfork, over and over (argv[2]):
 *   partner  for a child that needs another thread of this process to end
 *   sleep    for a child that takes its time and then executes a program
 *   never    for a child that does neither, until SIGUSR1
 *   thread   for another thread (CLONE_THREAD | CLONE_VFORK) that does not end until SIGUSR1
 */
#include "subject.h"
#include <pthread.h>
#include <stdatomic.h>

static int need[2], done[2]; /* the child asks for a byte, the partner gives it */
static volatile unsigned long rounds;
static atomic_bool inside; /* a thread was in vfork */
static atomic_bool stop_now;
static char *self;
static pid_t root;

static void on_usr1(int sig, siginfo_t *info, void *ctx)
{
	(void)sig, (void)info, (void)ctx;
	stop_now = true;
}

static void nap_us(long us)
{
	nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

/* Gives what the child needs, after a while in which a dump may come. */
static void *partner(void *arg)
{
	char c;

	while (read(need[0], &c, 1) == 1) {
		nap_us(20000);
		CHECK(write(done[1], &c, 1) == 1);
	}
	return arg;
}

static int wait_for_partner(void *arg)
{
	char c = 0;

	(void)arg;
	inside = true;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* it has both ends of the pipes itself */
	if (getppid() != root) /* which has ended before that */
		_exit(9);
	_exit(write(need[1], &c, 1) == 1 && read(done[0], &c, 1) == 1 ? 7 : 9);
}

static int sleep_then_run(void *arg)
{
	(void)arg;
	inside = true;
	nap_us(100000);
	execl("/proc/self/exe", self, "-", "seven", NULL);
	_exit(9);
}

static int sleep_for_ever(void *arg)
{
	(void)arg;
	inside = true;
	while (!stop_now)
		nap_us(10000);
	_exit(7);
}

static int thread_for_ever(void *arg)
{
	(void)arg;
	inside = true;
	while (!stop_now)
		nap_us(10000);
	syscall(SYS_exit, 0);
	return 0;
}

static void vfork_one(int (*run)(void *))
{
	static char stack[65536] __attribute__((aligned(16)));
	int status;
	pid_t pid = clone(run, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);

	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	SAME(status, 7 << 8);
	rounds++;
}

static void vfork_thread(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		CLONE_SYSVSEM | CLONE_VFORK;

	CHECK(clone(thread_for_ever, stack + sizeof(stack), flags, NULL) > 0);
	rounds++;
}

static void *forker(void *what)
{
	if (!strcmp(what, "thread"))
		vfork_thread();
	if (!strcmp(what, "never"))
		vfork_one(sleep_for_ever);
	while (!strcmp(what, "partner"))
		vfork_one(wait_for_partner);
	while (!strcmp(what, "sleep"))
		vfork_one(sleep_then_run);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	unsigned long had;

	if (argc == 3 && !strcmp(argv[2], "seven"))
		return 7;
	subject_init(argc, argv);
	NEED(argc == 3);
	self = argv[0];
	root = getpid();
	handle(SIGUSR1, on_usr1, 0);
	NEED(pipe(need) == 0 && pipe(done) == 0);
	NEED(pthread_create(&thread, NULL, partner, NULL) == 0);
	NEED(pthread_create(&thread, NULL, forker, argv[2]) == 0);
	while (!inside)
		nap_us(1000);
	ready();
	wait_term();
	/* and it goes on */
	had = rounds;
	for (int i = 0; i < PATIENCE_MS / 10 && rounds == had; i++)
		nap_us(10000);
	CHECK(rounds > had || stop_now);
	pass();
}
