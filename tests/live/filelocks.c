/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * filelocks: POSIX, OFD and flock locks, whole files and ranges, by two tasks and by a table that
 * is shared; leases to read and to write, with their signal; owners of descriptors, a thread too.
 */
#include "descriptors.h"
#include <pthread.h>
#include <sys/file.h>

enum { RANGES, OFD, FLOCK, FLOCK_SHARED, LEASE_READ, LEASE_WRITE, BROKEN, THREAD, N };

static int fds[N];
static volatile pid_t thread_id;
static volatile sig_atomic_t broken;
static volatile bool done;

static int make(int which, int flags)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "file%d", which);
	close(open(name, O_RDWR | O_CREAT, 0644));
	fd = open(name, flags);
	NEED(fd >= 0);
	return fd;
}

static void lock(int fd, int cmd, int type, off_t start, off_t len)
{
	struct flock f = { .l_type = type, .l_start = start, .l_len = len };

	if (fcntl(fd, cmd, &f) < 0)
		fail("setup: cannot lock %d: %s", fd, strerror(errno));
}

/* What is in the way of a lock by this descriptor: type and range. */
static void expect(int fd, int cmd, off_t at, int type, off_t start, off_t len, pid_t pid)
{
	struct flock f = { .l_type = F_WRLCK, .l_start = at, .l_len = 1 };

	CHECK(fcntl(fd, cmd, &f) == 0);
	SAME(f.l_type, type);
	if (type == F_UNLCK)
		return;
	SAME(f.l_start, start);
	SAME(f.l_len, len);
	SAME(f.l_pid, pid);
}

static void on_break(int sig, siginfo_t *si, void *ctx)
{
	(void)ctx;
	if (sig == SIGRTMIN + 3 && si->si_fd == fds[LEASE_WRITE])
		broken = 1;
}

static void *idle(void *arg)
{
	thread_id = syscall(SYS_gettid);
	while (!done)
		usleep(1000);
	return arg;
}

/* Another table: sees the POSIX locks of its parent, has one of its own. */
static void kid(void *arg)
{
	pid_t up = getppid();

	(void)arg;
	lock(fds[RANGES], F_SETLK, F_WRLCK, 500, 100);
	child_up();
	wait_term();
	expect(fds[RANGES], F_GETLK, 15, F_WRLCK, 10, 10, up);
	expect(fds[RANGES], F_GETLK, 1005, F_RDLCK, 1000, 0, up);
	expect(fds[RANGES], F_GETLK, 30, F_UNLCK, 0, 0, 0);
	SAME(fcntl(fds[RANGES], F_SETLK, &(struct flock){ .l_type = F_UNLCK, .l_start = 500, .l_len = 50 }), 0);
}

/* The same table: its locks are those of the parent. */
static void sharer(void *arg)
{
	(void)arg;
	lock(fds[RANGES], F_SETLK, F_WRLCK, 800, 8);
	child_up();
	wait_term();
	CHECK(fcntl(fds[RANGES], F_SETLK, &(struct flock){ .l_type = F_UNLCK, .l_start = 800, .l_len = 8 }) == 0);
}

static void set_up(void)
{
	struct f_owner_ex owner = { F_OWNER_TID, thread_id };

	fds[RANGES] = make(RANGES, O_RDWR);
	lock(fds[RANGES], F_SETLK, F_WRLCK, 10, 10);
	lock(fds[RANGES], F_SETLK, F_RDLCK, 1000, 0);
	fds[OFD] = make(OFD, O_RDWR);
	lock(fds[OFD], F_OFD_SETLK, F_RDLCK, 0, 5);
	lock(fds[OFD], F_OFD_SETLK, F_WRLCK, 1l << 40, 7);
	fds[FLOCK] = make(FLOCK, O_RDONLY);
	fds[FLOCK_SHARED] = make(FLOCK_SHARED, O_RDONLY);
	NEED(flock(fds[FLOCK], LOCK_EX) == 0 && flock(fds[FLOCK_SHARED], LOCK_SH) == 0);
	fds[LEASE_READ] = make(LEASE_READ, O_RDONLY);
	NEED(fcntl(fds[LEASE_READ], F_SETLEASE, F_RDLCK) == 0);
	fds[LEASE_WRITE] = make(LEASE_WRITE, O_RDWR);
	NEED(fcntl(fds[LEASE_WRITE], F_SETSIG, SIGRTMIN + 3) == 0);
	NEED(fcntl(fds[LEASE_WRITE], F_SETLEASE, F_WRLCK) == 0);
	fds[BROKEN] = make(BROKEN, O_RDWR);
	NEED(fcntl(fds[BROKEN], F_SETLEASE, F_WRLCK) == 0);
	NEED(open("file6", O_RDONLY | O_NONBLOCK) < 0 && errno == EAGAIN);
	fds[THREAD] = make(THREAD, O_RDWR);
	NEED(fcntl(fds[THREAD], F_SETOWN_EX, &owner) == 0);
	NEED(fcntl(fds[THREAD], F_SETSIG, SIGRTMIN) == 0);
}

static void check_locks(pid_t child_pid)
{
	int other;

	expect(fds[RANGES], F_GETLK, 550, F_WRLCK, 500, 100, child_pid);
	other = open("file1", O_RDWR);
	expect(other, F_OFD_GETLK, 3, F_RDLCK, 0, 5, -1);
	expect(other, F_OFD_GETLK, (1l << 40) + 1, F_WRLCK, 1l << 40, 7, -1);
	close(other);
	other = open("file2", O_RDONLY);
	CHECK(flock(other, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK);
	close(other);
	other = open("file3", O_RDONLY);
	CHECK(flock(other, LOCK_EX | LOCK_NB) < 0 && flock(other, LOCK_SH | LOCK_NB) == 0);
	close(other);
	SAME(fcntl(fds[LEASE_READ], F_GETLEASE), F_RDLCK);
	SAME(fcntl(fds[LEASE_WRITE], F_GETLEASE), F_WRLCK);
	CHECK(open("file5", O_RDONLY | O_NONBLOCK) < 0 && errno == EAGAIN);
	for (int i = 0; i < PATIENCE_MS && !broken; i++)
		usleep(1000);
	CHECK(broken);
	CHECK(fcntl(fds[LEASE_WRITE], F_SETLEASE, F_UNLCK) == 0);
	CHECK(fcntl(fds[BROKEN], F_SETLEASE, F_UNLCK) == 0);
}

int main(int argc, char **argv)
{
	struct fd_note notes[N];
	pid_t pid, pal;
	pthread_t t;

	subject_init(argc, argv);
	signal(SIGIO, SIG_IGN);
	handle(SIGRTMIN + 3, on_break, SA_RESTART);
	NEED(pthread_create(&t, NULL, idle, NULL) == 0);
	while (!thread_id)
		usleep(1000);
	set_up();
	pid = child(kid, NULL);
	pal = child_clone(CLONE_FILES, sharer, NULL);
	for (int i = 0; i < N; i++)
		fd_note(&notes[i], fds[i]);
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		fd_check(&notes[i], fds[i], true);
	SAME(notes[THREAD].owner, thread_id * 8 + F_OWNER_TID);
	check_locks(pid);
	child_end(pid);
	child_end(pal);
	done = true;
	CHECK(pthread_join(t, NULL) == 0);
	pass();
}
