/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stopped: a child stopped by SIGSTOP, one with two threads stopped by SIGTSTP, one whose stop its
 * parent has not been told of yet; they stay stopped and go on with SIGCONT.
 */
#include "subject.h"
#include <pthread.h>

static volatile int thread_up, thread_done;

static void leaf(void *arg)
{
	struct self s;

	(void)arg;
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
}

static void *spin(void *arg)
{
	thread_up = 1;
	while (!subject_term)
		usleep(1000);
	thread_done = 1;
	return arg;
}

static void two_threads(void *arg)
{
	struct self s;
	pthread_t t;

	(void)arg;
	/* an orphaned group ignores SIGTSTP: this one has its parent in the session */
	NEED(setpgid(0, 0) == 0);
	NEED(pthread_create(&t, NULL, spin, NULL) == 0);
	while (!thread_up)
		usleep(1000);
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
	CHECK(pthread_join(t, NULL) == 0 && thread_done);
}

static void expect_continue(pid_t pid)
{
	int status;

	SAME(process_state(pid), 'T');
	CHECK(kill(pid, SIGTERM) == 0);
	usleep(20000);
	SAME(process_state(pid), 'T');
	CHECK(kill(pid, SIGCONT) == 0);
	status = child_reap(pid);
	if (status != 0)
		fail("stopped child %d ended with status 0x%x", pid, status);
}

int main(int argc, char **argv)
{
	pid_t a, b, c;
	int status;

	subject_init(argc, argv);
	a = child(leaf, NULL);
	b = child(two_threads, NULL);
	c = child(leaf, NULL);
	NEED(kill(a, SIGSTOP) == 0 && kill(b, SIGTSTP) == 0);
	NEED(waitpid(a, &status, WUNTRACED) == a && WIFSTOPPED(status));
	NEED(waitpid(b, &status, WUNTRACED) == b && WIFSTOPPED(status));
	NEED(WSTOPSIG(status) == SIGTSTP);
	NEED(kill(c, SIGSTOP) == 0);
	NEED(process_reaches(c, 'T'));
	ready();
	wait_term();
	expect_continue(a);
	expect_continue(b);
	expect_continue(c);
	pass();
}
