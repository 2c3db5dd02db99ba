/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pending: blocked signals that wait for the process or for one thread, each with its siginfo, and
 * real-time signals in the order they were queued.
 */
#include "subject.h"
#include <pthread.h>

static volatile int up, go;
static const struct timespec zero;

/* Queues sig with a value and a code that only rt_(tg)sigqueueinfo allows. */
static void queue(pid_t tid, int sig, int value)
{
	siginfo_t si = { 0 };
	int r;

	si.si_signo = sig;
	si.si_code = SI_QUEUE;
	si.si_errno = value + 1;
	si.si_pid = getpid() + value;
	si.si_uid = 1000 + value;
	si.si_value.sival_ptr = (void *)(0x1234567800000000 + value);
	r = tid ? syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, sig, &si) :
		  syscall(SYS_rt_sigqueueinfo, getpid(), sig, &si);
	NEED(r == 0);
}

static void expect(int sig, int value)
{
	siginfo_t si = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	SAME(sigtimedwait(&set, &si, &zero), sig);
	SAME(si.si_code, SI_QUEUE);
	SAME(si.si_errno, value + 1);
	SAME(si.si_pid, getpid() + value);
	SAME(si.si_uid, 1000 + value);
	SAME(si.si_value.sival_ptr, 0x1234567800000000 + value);
}

static void expect_none(int sig)
{
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	if (sigtimedwait(&set, &si, &zero) != -1)
		fail("signal %d is pending although it was taken", sig);
	SAME(errno, EAGAIN);
}

static void block_all(void)
{
	sigset_t set;

	sigfillset(&set);
	NEED(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
}

static void *work(void *arg)
{
	int i = (intptr_t)arg;

	block_all();
	for (int k = 0; k < 3; k++)
		queue(syscall(SYS_gettid), SIGRTMIN + 10, 100 * i + k);
	queue(syscall(SYS_gettid), SIGHUP, 10 + i);
	__sync_fetch_and_add(&up, 1);
	while (!go)
		usleep(1000);
	for (int k = 0; k < 3; k++)
		expect(SIGRTMIN + 10, 100 * i + k);
	expect(SIGHUP, 10 + i);
	expect_none(SIGHUP);
	expect_none(SIGRTMIN + 10);
	return NULL;
}

static void expect_child(pid_t pid)
{
	siginfo_t si = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	SAME(sigtimedwait(&set, &si, &zero), SIGCHLD);
	SAME(si.si_code, CLD_EXITED);
	SAME(si.si_pid, pid);
	SAME(si.si_status, 33);
	SAME(child_reap(pid), 33 << 8);
}

static void expect_kill(int sig)
{
	siginfo_t si = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	SAME(sigtimedwait(&set, &si, &zero), sig);
	SAME(si.si_code, SI_USER);
	SAME(si.si_pid, getpid());
}

int main(int argc, char **argv)
{
	pthread_t t[3];
	siginfo_t si;
	pid_t pid;

	subject_init(argc, argv);
	block_all();
	for (intptr_t i = 0; i < 3; i++)
		NEED(pthread_create(&t[i], NULL, work, (void *)i) == 0);
	while (up < 3)
		usleep(1000);
	pid = fork();
	NEED(pid >= 0);
	if (pid == 0)
		_exit(33);
	NEED(waitid(P_PID, pid, &si, WEXITED | WNOWAIT) == 0);
	for (int k = 0; k < 60; k++)
		queue(0, SIGRTMIN + k % 3, k);
	queue(0, SIGUSR2, 7);
	queue(0, SIGUSR2, 8); /* lost: an ordinary signal waits once */
	queue(syscall(SYS_gettid), SIGUSR2, 9);
	NEED(kill(getpid(), SIGUSR1) == 0);
	NEED(kill(getpid(), SIGWINCH) == 0);
	ready();
	wait_term();
	for (int r = 0; r < 3; r++) {
		for (int k = r; k < 60; k += 3)
			expect(SIGRTMIN + r, k);
		expect_none(SIGRTMIN + r);
	}
	expect(SIGUSR2, 9); /* the thread's own queue first */
	expect(SIGUSR2, 7);
	expect_none(SIGUSR2);
	expect_kill(SIGUSR1);
	expect_kill(SIGWINCH);
	expect_child(pid);
	go = 1;
	for (int i = 0; i < 3; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	pass();
}
