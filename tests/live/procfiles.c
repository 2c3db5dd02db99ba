/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * procfiles: files and folders of /proc open that belong to the tree's own tasks: of itself, of a
 * thread, of a child, namespaces, a folder it walks through.
 */
#include "descriptors.h"
#include <pthread.h>

enum { STATUS, COMM, THREAD_COMM, THREAD_DIR, FDS, CHILD_STAT, CHILD_MAPS, CHILD_DIR, MEMINFO, NET_NS,
	UTS_NS, CHILD_NS, N };

static int fds[N];
static volatile pid_t tid;
static volatile bool go_on = true;

static void *thread(void *arg)
{
	prctl(PR_SET_NAME, "a-thread");
	tid = (pid_t)syscall(SYS_gettid);
	while (go_on)
		usleep(1000);
	return arg;
}

static void kid(void *arg)
{
	(void)arg;
	prctl(PR_SET_NAME, "a-child");
	child_up();
	wait_term();
}

__attribute__((format(printf, 3, 4))) static void get(int which, int flags, const char *fmt, ...)
{
	char path[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	fds[which] = open(path, flags);
	if (fds[which] < 0)
		fail("cannot open %s: %s", path, strerror(errno));
}

static void set_up(pid_t child)
{
	char c;

	get(STATUS, O_RDONLY, "/proc/self/status");
	get(COMM, O_RDWR | O_CLOEXEC, "/proc/%d/comm", getpid());
	get(THREAD_COMM, O_RDWR, "/proc/%d/task/%d/comm", getpid(), tid);
	get(THREAD_DIR, O_RDONLY | O_DIRECTORY, "/proc/self/task/%d", tid);
	get(FDS, O_RDONLY | O_DIRECTORY, "/proc/self/fd");
	get(CHILD_STAT, O_RDONLY, "/proc/%d/stat", child);
	get(CHILD_MAPS, O_RDONLY, "/proc/%d/maps", child);
	get(CHILD_DIR, O_PATH, "/proc/%d", child);
	get(MEMINFO, O_RDONLY, "/proc/meminfo");
	get(NET_NS, O_RDONLY, "/proc/self/ns/net");
	get(UTS_NS, O_RDONLY | O_CLOEXEC, "/proc/thread-self/ns/uts");
	get(CHILD_NS, O_RDONLY, "/proc/%d/ns/mnt", child);
	NEED(read(fds[MEMINFO], &c, 1) == 1 && c == 'M');
}

/* What a file says, from its beginning. */
static const char *text_of(int fd)
{
	static char buf[4096];
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

	CHECK(n > 0);
	buf[n] = 0;
	return buf;
}

static void check(pid_t child)
{
	char want[64], c;
	int dir;

	snprintf(want, sizeof(want), "\nPid:\t%d\n", getpid());
	CHECK(strstr(text_of(fds[STATUS]), want));
	CHECK(!strcmp(text_of(fds[COMM]), "procfiles\n"));
	CHECK(!strcmp(text_of(fds[THREAD_COMM]), "a-thread\n"));
	CHECK(write(fds[THREAD_COMM], "renamed", 7) == 7);
	CHECK(!strcmp(text_of(fds[THREAD_COMM]), "renamed\n"));
	dir = openat(fds[THREAD_DIR], "comm", O_RDONLY);
	CHECK(dir >= 0 && !strcmp(text_of(dir), "renamed\n"));
	CHECK(faccessat(fds[FDS], "0", F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	snprintf(want, sizeof(want), "%d (a-child) ", child);
	CHECK(!strncmp(text_of(fds[CHILD_STAT]), want, strlen(want)));
	CHECK(strstr(text_of(fds[CHILD_MAPS]), "/procfiles\n"));
	close(dir);
	dir = openat(fds[CHILD_DIR], "comm", O_RDONLY);
	CHECK(dir >= 0 && !strcmp(text_of(dir), "a-child\n"));
	CHECK(read(fds[MEMINFO], &c, 1) == 1 && c == 'e');
}

int main(int argc, char **argv)
{
	struct fd_note notes[N];
	pthread_t t;
	pid_t child_pid;

	subject_init(argc, argv);
	child_pid = child(kid, NULL);
	NEED(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!tid)
		usleep(1000);
	set_up(child_pid);
	for (int i = 0; i < N; i++)
		fd_note(&notes[i], fds[i]);
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		fd_check(&notes[i], fds[i], false);
	check(child_pid);
	go_on = false;
	CHECK(pthread_join(t, NULL) == 0);
	child_end(child_pid);
	pass();
}
