/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pidfds: of the parent, a child, a zombie, a thread and two processes that have ended; namespaces
 * held by descriptors; files of /proc of a child, a thread and a process that has ended.
 */
#include "descriptors.h"
#include <poll.h>
#include <pthread.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

enum { SELF, CHILD, CHILD_AGAIN, ZOMBIE, DEAD, DEAD_AGAIN, OTHER_DEAD, THREAD, NET, MNT, USER, STAT, TASK, LINKS,
	CHILD_MAPS, GONE, N };

static int fds[N];
static struct fd_note notes[N];
static volatile pid_t thread_id;
static volatile bool done;

static int pidfd(pid_t pid, unsigned flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

static void *idle(void *arg)
{
	thread_id = syscall(SYS_gettid);
	while (!done)
		usleep(1000);
	return arg;
}

static void kid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	CHECK(fd_is_same(getpid(), fds[SELF], getppid(), fds[SELF]));
}

static pid_t ended(int *ret_a, int *ret_b, int *ret_proc)
{
	pid_t pid = fork();
	char path[64];

	NEED(pid >= 0);
	if (!pid)
		_exit(3);
	*ret_a = pidfd(pid, 0);
	if (ret_b)
		*ret_b = pidfd(pid, O_NONBLOCK);
	if (ret_proc) {
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		*ret_proc = open(path, O_RDONLY);
	}
	child_reap(pid);
	return pid;
}

static int open_proc(const char *fmt, int a, int b)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), fmt, a, b);
	fd = open(path, O_RDONLY);
	NEED(fd >= 0);
	return fd;
}

static bool is_over(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void check_pidfds(pid_t pid, pid_t zombie)
{
	siginfo_t si = { 0 };

	CHECK(syscall(SYS_pidfd_send_signal, fds[SELF], 0, NULL, 0) == 0);
	CHECK(syscall(SYS_pidfd_send_signal, fds[CHILD_AGAIN], 0, NULL, 0) == 0);
	CHECK(!is_over(fds[CHILD]) && is_over(fds[ZOMBIE]));
	CHECK(is_over(fds[DEAD]) && is_over(fds[DEAD_AGAIN]) && is_over(fds[OTHER_DEAD]));
	CHECK(syscall(SYS_pidfd_send_signal, fds[DEAD], 0, NULL, 0) < 0 && errno == ESRCH);
	CHECK(waitid(P_PIDFD, fds[ZOMBIE], &si, WEXITED) == 0);
	CHECK(si.si_pid == zombie && si.si_status == 7);
	CHECK(syscall(SYS_pidfd_send_signal, fds[CHILD], SIGTERM, NULL, 0) == 0);
	CHECK(waitid(P_PIDFD, fds[CHILD], &si, WEXITED) == 0);
	CHECK(si.si_pid == pid && si.si_status == 0);
	if (fds[THREAD] >= 0)
		CHECK(syscall(SYS_pidfd_send_signal, fds[THREAD], 0, NULL, 0) == 0);
	/* one inode per process since 6.9 */
	SAME(notes[DEAD].st.st_ino == notes[SELF].st.st_ino, notes[DEAD].st.st_ino == notes[OTHER_DEAD].st.st_ino);
	for (int i = 0; i <= OTHER_DEAD; i++)
		CHECK(fstat(fds[i], &notes[i].st) == 0);
	SAME(notes[DEAD].st.st_ino, notes[DEAD_AGAIN].st.st_ino);
	SAME(notes[CHILD].st.st_ino, notes[CHILD_AGAIN].st.st_ino);
	SAME(notes[DEAD].st.st_ino == notes[SELF].st.st_ino, notes[DEAD].st.st_ino == notes[OTHER_DEAD].st.st_ino);
}

static void check_proc(void)
{
	char buf[256], want[64];
	struct stat st;

	memset(buf, 0, sizeof(buf));
	CHECK(read(fds[STAT], buf, sizeof(buf) - 1) > 0);
	CHECK(atoi(buf) == thread_id);
	CHECK(fstatat(fds[LINKS], "0", &st, 0) == 0);
	snprintf(want, sizeof(want), "%d", thread_id);
	CHECK(fstatat(fds[TASK], want, &st, 0) == 0);
	CHECK(read(fds[CHILD_MAPS], buf, sizeof(buf)) > 0);
	CHECK(read(fds[GONE], buf, sizeof(buf)) < 0 && errno == ESRCH);
	CHECK(setns(fds[NET], CLONE_NEWNET) == 0);
}

int main(int argc, char **argv)
{
	pid_t pid, zombie;
	pthread_t t;

	subject_init(argc, argv);
	NEED(pthread_create(&t, NULL, idle, NULL) == 0);
	while (!thread_id)
		usleep(1000);
	fds[SELF] = pidfd(getpid(), 0);
	if (fds[SELF] < 0)
		skip("no pidfd_open");
	pid = child(kid, NULL);
	zombie = fork();
	NEED(zombie >= 0);
	if (!zombie)
		_exit(7);
	NEED(process_reaches(zombie, 'Z'));
	fds[CHILD] = pidfd(pid, 0);
	fds[CHILD_AGAIN] = pidfd(pid, O_NONBLOCK);
	fds[ZOMBIE] = pidfd(zombie, 0);
	ended(&fds[DEAD], &fds[DEAD_AGAIN], NULL);
	ended(&fds[OTHER_DEAD], NULL, &fds[GONE]);
	fds[THREAD] = pidfd(thread_id, PIDFD_THREAD);
	fds[NET] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	fds[MNT] = open("/proc/self/ns/mnt", O_RDONLY);
	fds[USER] = open("/proc/self/ns/user", O_RDONLY);
	fds[STAT] = open_proc("/proc/%d/task/%d/stat", getpid(), thread_id);
	fds[TASK] = open_proc("/proc/self/task", 0, 0);
	fds[LINKS] = open_proc("/proc/%d/fd", getpid(), 0);
	fds[CHILD_MAPS] = open_proc("/proc/%d/maps", pid, 0);
	for (int i = 0; i < N; i++)
		if (fds[i] >= 0)
			fd_note(&notes[i], fds[i]);
	ready();
	wait_term();
	for (int i = 0; i < N; i++) {
		bool other = i == DEAD || i == DEAD_AGAIN || i == OTHER_DEAD || i <= THREAD;

		if (fds[i] >= 0 && i < STAT)
			fd_check(&notes[i], fds[i], !other);
	}
	check_proc();
	check_pidfds(pid, zombie);
	done = true;
	CHECK(pthread_join(t, NULL) == 0);
	pass();
}
