/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dead_leader: children whose thread-group leader has ended while other threads live on, with
 * memory, descriptors and a signal handler to lose. /proc shows the leader's exit code meanwhile;
 * later wait4 returns it, or the code of a thread that ends all. (Threads that end one by one do so
 * with the leader's code here: up to 5.19 wait4 returned the leader's, since then the last one's.)
 */
#include "subject.h"
#include <pthread.h>

enum { THREADS = 3 };

static volatile int up, handled;
static int exit_code, fds[2];
static bool whole; /* a thread calls exit_group */
static uint64_t *memory;

static void on_usr1(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)si, (void)uc;
	handled = 1;
}

static void *live_on(void *arg)
{
	int i = (intptr_t)arg;
	struct self s;
	char c;

	if (i == 0) {
		/* the leader is a zombie by then */
		while (process_state(getpid()) != 'Z')
			usleep(1000);
		usleep(1000);
	}
	self_note(&s, false);
	if (__sync_add_and_fetch(&up, 1) == THREADS)
		child_up();
	if (i == 0) {
		wait_term();
		CHECK(holds(memory, 65536, 77));
		CHECK(kill(getpid(), SIGUSR1) == 0);
		while (!handled)
			usleep(1000);
		CHECK(read(fds[0], &c, 1) == 1 && c == 'x');
	}
	while (!subject_term)
		usleep(1000);
	self_check(&s);
	SAME(process_state(getpid()), 'Z');
	if (whole && i == 0) {
		usleep(20000);
		syscall(SYS_exit_group, 99);
	}
	syscall(SYS_exit, exit_code);
	return NULL;
}

/* Field 52 of /proc/PID/stat. */
static int shown_code(pid_t pid)
{
	char path[64], buf[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	slurp(path, buf, sizeof(buf));
	return atoi(strrchr(buf, ' '));
}

static void leader(void *arg)
{
	pthread_t t;

	(void)arg;
	handle(SIGUSR1, on_usr1, SA_RESTART);
	memory = map(65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	fill(memory, 65536, 77);
	NEED(pipe(fds) == 0 && write(fds[1], "x", 1) == 1);
	for (intptr_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&t, NULL, live_on, (void *)i) == 0);
	syscall(SYS_exit, exit_code);
}

static pid_t make(int code, bool all)
{
	exit_code = code;
	whole = all;
	return child(leader, NULL);
}

int main(int argc, char **argv)
{
	pid_t a, b, c;
	int status;

	subject_init(argc, argv);
	a = make(3, false);
	b = make(0, false);
	c = make(4, true);
	ready();
	wait_term();
	SAME(shown_code(a), 3 << 8);
	SAME(shown_code(b), 0);
	SAME(shown_code(c), 4 << 8);
	CHECK(waitpid(a, &status, WNOHANG) == 0);
	CHECK(kill(a, SIGTERM) == 0);
	status = child_reap(a);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 3)
		fail("status of the dead leader is 0x%x, not exit code 3", status);
	CHECK(kill(b, SIGTERM) == 0);
	SAME(child_reap(b), 0);
	CHECK(kill(c, SIGTERM) == 0);
	status = child_reap(c);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 99)
		fail("status after exit_group of a thread is 0x%x, not exit code 99", status);
	pass();
}
