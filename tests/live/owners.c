/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * owners: who gets the signal of a descriptor (F_SETOWN_EX: a process, a thread, a group; F_SETSIG;
 * O_ASYNC; set by another user): each still gets it, and it tells the descriptor.
 */
#include "descriptors.h"
#include <pthread.h>
#include <sys/socket.h>

enum { TO_PROCESS, TO_THREAD, TO_GROUP, TO_CHILD, QUIET, N };

static int ends[N][2];
static volatile pid_t tid;
static volatile bool go_on = true;
static volatile int got_by_thread, thread_fd;
static volatile sig_atomic_t *child_got;

static int signal_of(int which)
{
	return which == QUIET ? SIGIO : SIGRTMIN + 1 + which;
}

static void *thread(void *arg)
{
	struct timespec soon = { 0, 5000000 };
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal_of(TO_THREAD));
	tid = (pid_t)syscall(SYS_gettid);
	while (go_on)
		if (sigtimedwait(&set, &si, &soon) > 0) {
			thread_fd = si.si_fd;
			got_by_thread++;
		}
	return arg;
}

static void on_child(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	child_got[sig == signal_of(TO_CHILD) ? 0 : 1] = si->si_fd;
}

static void kid(void *arg)
{
	sigset_t set;

	(void)arg;
	NEED(setpgid(0, 0) == 0);
	handle(signal_of(TO_CHILD), on_child, SA_RESTART);
	handle(signal_of(TO_GROUP), on_child, SA_RESTART);
	sigemptyset(&set);
	sigaddset(&set, signal_of(TO_CHILD));
	sigaddset(&set, signal_of(TO_GROUP));
	NEED(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
	child_up();
	wait_term();
}

static void own(int which, int type, pid_t pid, bool async)
{
	struct f_owner_ex owner = { type, pid };
	int fd = ends[which][0];

	NEED(fcntl(fd, F_SETOWN_EX, &owner) == 0);
	if (which != QUIET)
		NEED(fcntl(fd, F_SETSIG, signal_of(which)) == 0);
	if (async)
		NEED(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
}

static void set_up(pid_t child)
{
	for (int i = 0; i < N; i++)
		NEED((i % 2 ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]) : pipe(ends[i])) == 0);
	own(TO_PROCESS, F_OWNER_PID, getpid(), true);
	own(TO_THREAD, F_OWNER_TID, tid, true);
	own(TO_GROUP, F_OWNER_PGRP, child, true);
	NEED(syscall(SYS_setresuid, 1000, 1001, 0) == 0);
	own(QUIET, F_OWNER_PID, getpid(), false);
	NEED(syscall(SYS_setresuid, 0, 0, 0) == 0);
	own(TO_CHILD, F_OWNER_PID, child, true);
}

static void poke(int which)
{
	CHECK(write(ends[which][1], "x", 1) == 1);
}

static void until(volatile int *what, int value)
{
	for (int i = 0; i < PATIENCE_MS && *what != value; i++)
		usleep(1000);
	SAME(*what, value);
}

static void check_own(void)
{
	struct timespec soon = { PATIENCE_MS / 1000, 0 };
	siginfo_t si;
	sigset_t set;
	uid_t ids[2] = { 0 };

	sigemptyset(&set);
	sigaddset(&set, signal_of(TO_PROCESS));
	poke(TO_PROCESS);
	SAME(sigtimedwait(&set, &si, &soon), signal_of(TO_PROCESS));
	SAME(si.si_fd, ends[TO_PROCESS][0]);
	SAME(si.si_code, POLL_IN);
	poke(TO_THREAD);
	until(&got_by_thread, 1);
	SAME(thread_fd, ends[TO_THREAD][0]);
	poke(QUIET); /* would end us */
	CHECK(fcntl(ends[QUIET][0], 17 /* F_GETOWNER_UIDS */, ids) == 0 || errno == EINVAL);
	CHECK(errno == EINVAL || (ids[0] == 1000 && ids[1] == 1001));
}

int main(int argc, char **argv)
{
	struct fd_note notes[N][2];
	pthread_t t;
	pid_t pid;

	subject_init(argc, argv);
	for (int i = 0; i < QUIET; i++)
		block(signal_of(i));
	child_got = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(child_got != MAP_FAILED);
	child_got[0] = child_got[1] = -1;
	pid = child(kid, NULL);
	NEED(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!tid)
		usleep(1000);
	set_up(pid);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			fd_note(&notes[i][k], ends[i][k]);
	errno = 0;
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			fd_check(&notes[i][k], ends[i][k], false);
	errno = 0;
	check_own();
	poke(TO_CHILD);
	poke(TO_GROUP);
	go_on = false;
	CHECK(pthread_join(t, NULL) == 0);
	child_end(pid);
	SAME(child_got[0], ends[TO_CHILD][0]);
	SAME(child_got[1], ends[TO_GROUP][0]);
	pass();
}
