/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Common part of the live subjects. A subject is started as `PROG RESULT` in a folder of its own
 * with descriptors 0, 1, 2 on /dev/null. It sets a state up, appends "ready" to RESULT, waits for
 * SIGTERM, verifies that state and appends "PASS" or "FAIL: reason". Where this kernel lacks what
 * it needs it appends "SKIP: reason" instead of "ready" and exits with 0.
 *
 * - SIGTERM is blocked except inside wait_term(), so it is never lost.
 * - The result file is open only while a line is written.
 * - A child that finds something wrong appends the reason itself and exits with 1; its parent
 *   then fails as well.
 */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define maybe_unused __attribute__((unused))

static char subject_result[PATH_MAX];
static volatile sig_atomic_t subject_term;
static int subject_sync = -1; /* a child's end of the start-up pipe */

static void subject_say(const char *fmt, va_list ap)
{
	char buf[768];
	int n = vsnprintf(buf, sizeof(buf) - 1, fmt, ap);
	int fd = open(subject_result, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (n > (int)sizeof(buf) - 2)
		n = sizeof(buf) - 2;
	buf[n++] = '\n';
	if (fd < 0 || write(fd, buf, n) != n)
		_exit(2);
	close(fd);
}

maybe_unused __attribute__((format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	subject_say(fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 1, 2))) static _Noreturn void fail(const char *fmt, ...)
{
	char with[512];
	va_list ap;

	snprintf(with, sizeof(with), "FAIL: %s", fmt);
	va_start(ap, fmt);
	subject_say(with, ap);
	va_end(ap);
	_exit(1);
}

/* This kernel or machine cannot show it: only before ready(), only in the root process. */
maybe_unused __attribute__((format(printf, 1, 2))) static _Noreturn void skip(const char *fmt, ...)
{
	char with[512];
	va_list ap;

	snprintf(with, sizeof(with), "SKIP: %s", fmt);
	va_start(ap, fmt);
	subject_say(with, ap);
	va_end(ap);
	_exit(0);
}

/* NEED: a condition while the state is made. CHECK, SAME: conditions afterwards. */
#define NEED(x)                                                                             \
	do {                                                                                \
		if (!(x))                                                                   \
			fail("setup, line %d: %s: %s", __LINE__, #x, strerror(errno));      \
	} while (0)
#define CHECK(x)                                                                            \
	do {                                                                                \
		if (!(x))                                                                   \
			fail("line %d: %s (%s)", __LINE__, #x, strerror(errno));            \
	} while (0)
#define SAME(a, b)                                                                          \
	do {                                                                                \
		long long a_ = (long long)(a), b_ = (long long)(b);                         \
		if (a_ != b_)                                                               \
			fail("line %d: %s is %lld, not %lld", __LINE__, #a, a_, b_);        \
	} while (0)

static void subject_on_term(int sig)
{
	(void)sig;
	subject_term = 1;
}

maybe_unused static void block(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	NEED(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
}

maybe_unused static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags };

	NEED(sigaction(sig, &sa, NULL) == 0);
}

maybe_unused static void subject_init(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = subject_on_term };

	if (argc < 2 || strlen(argv[1]) >= sizeof(subject_result))
		_exit(2);
	strcpy(subject_result, argv[1]);
	NEED(sigaction(SIGTERM, &sa, NULL) == 0);
	block(SIGTERM);
}

maybe_unused static void ready(void)
{
	say("ready");
}

maybe_unused static void wait_term(void)
{
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	sigdelset(&set, SIGTERM);
	while (!subject_term)
		sigsuspend(&set);
}

maybe_unused static _Noreturn void pass(void)
{
	say("PASS");
	_exit(0);
}

/* -------------------------------------------------------------------------------- processes */

/* What every thread can say about itself; ppid 0 means that the parent does not matter. */
struct self {
	pid_t pid, tid, ppid, pgid, sid;
	sigset_t mask;
	char comm[16], cwd[256];
};

maybe_unused static void self_note(struct self *s, bool with_parent)
{
	memset(s, 0, sizeof(*s));
	s->pid = getpid();
	s->tid = syscall(SYS_gettid);
	s->ppid = with_parent ? getppid() : 0;
	s->pgid = getpgid(0);
	s->sid = getsid(0);
	NEED(sigprocmask(SIG_BLOCK, NULL, &s->mask) == 0);
	NEED(prctl(PR_GET_NAME, s->comm) == 0);
	NEED(getcwd(s->cwd, sizeof(s->cwd)) != NULL);
}

maybe_unused static void self_check(const struct self *s)
{
	char comm[16] = "", cwd[256] = "";
	sigset_t mask;

	SAME(getpid(), s->pid);
	SAME(syscall(SYS_gettid), s->tid);
	if (s->ppid)
		SAME(getppid(), s->ppid);
	SAME(getpgid(0), s->pgid);
	SAME(getsid(0), s->sid);
	CHECK(sigprocmask(SIG_BLOCK, NULL, &mask) == 0);
	for (int n = 1; n <= 64; n++)
		if (sigismember(&mask, n) != sigismember(&s->mask, n))
			fail("signal %d in the mask of %d is %d", n, s->tid, sigismember(&mask, n));
	CHECK(prctl(PR_GET_NAME, comm) == 0);
	if (strcmp(comm, s->comm))
		fail("comm of %d is '%s', not '%s'", s->tid, comm, s->comm);
	CHECK(getcwd(cwd, sizeof(cwd)) != NULL);
	if (strcmp(cwd, s->cwd))
		fail("cwd is '%s', not '%s'", cwd, s->cwd);
}

/* A child tells its parent that its state is set up. */
maybe_unused static void child_up(void)
{
	NEED(write(subject_sync, "u", 1) == 1);
	close(subject_sync);
	subject_sync = -1;
}

/*
 * Makes a child with these clone flags (0: fork); it runs fn, which calls child_up() once, waits
 * and verifies; returning means that all is well. The parent returns after child_up() and holds no
 * descriptor of this.
 */
maybe_unused static pid_t child_clone(unsigned long flags, void (*fn)(void *), void *arg)
{
	int p[2];
	char c;
	pid_t pid;

	NEED(pipe(p) == 0);
	pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
	NEED(pid >= 0);
	if (pid == 0) {
		if (!(flags & CLONE_FILES)) {
			close(p[0]);
			if (subject_sync >= 0)
				close(subject_sync);
		}
		subject_sync = p[1];
		fn(arg);
		_exit(0);
	}
	if (!(flags & CLONE_FILES))
		close(p[1]);
	NEED(read(p[0], &c, 1) == 1);
	close(p[0]);
	return pid;
}

maybe_unused static pid_t child(void (*fn)(void *), void *arg)
{
	return child_clone(0, fn, arg);
}

maybe_unused static int child_reap(pid_t pid)
{
	int status = -1;
	pid_t got;

	while ((got = waitpid(pid, &status, __WALL)) < 0 && errno == EINTR)
		;
	SAME(got, pid);
	return status;
}

/* Sends SIGTERM to a child and expects it to exit with 0. */
maybe_unused static void child_end(pid_t pid)
{
	int status;

	CHECK(kill(pid, SIGTERM) == 0);
	status = child_reap(pid);
	if (status != 0)
		fail("child %d ended with status 0x%x", pid, status);
}

/* State letter of a process as /proc shows it, '?' if there is none. */
maybe_unused static char process_state(pid_t pid)
{
	char path[64], buf[512], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '?';
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n > 0 ? n : 0] = 0;
	p = strrchr(buf, ')');
	return p && p[1] ? p[2] : '?';
}

/*
 * How long to wait for what comes at once: on a machine that is busy with other things that may be
 * long. For waits with a condition only; one that fails has all of it.
 */
enum { PATIENCE_MS = 60000 };

/* Waits until a process is in that state. */
maybe_unused static bool process_reaches(pid_t pid, char state)
{
	for (int i = 0; i < PATIENCE_MS / 5; i++) {
		if (process_state(pid) == state)
			return true;
		usleep(5000);
	}
	return false;
}

/* ----------------------------------------------------------------------------------- memory */

static uint64_t pattern_next(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

/* Pseudo-random contents that depend on a seed; len is a multiple of 8. */
maybe_unused static void fill(void *mem, size_t len, uint64_t seed)
{
	uint64_t *p = mem, x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < len / 8; i++)
		p[i] = x = pattern_next(x);
}

/* Whether the contents are those of fill(). */
maybe_unused static bool holds(const void *mem, size_t len, uint64_t seed)
{
	const uint64_t *p = mem;
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < len / 8; i++)
		if (p[i] != (x = pattern_next(x)))
			return false;
	return true;
}

maybe_unused static bool all_zero(const void *mem, size_t len)
{
	const uint64_t *p = mem;

	for (size_t i = 0; i < len / 8; i++)
		if (p[i])
			return false;
	return true;
}

maybe_unused static void *map(size_t len, int prot, int flags)
{
	void *p = mmap(NULL, len, prot, flags, -1, 0);

	NEED(p != MAP_FAILED);
	return p;
}

/* Opens, reads up to size - 1 bytes and terminates them; fails the subject if it cannot. */
maybe_unused static size_t slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		fail("cannot open %s: %s", path, strerror(errno));
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = 0;
	return len;
}

/* Number behind "KEY:" in a file like /proc/PID/status, -1 if it is not there. */
maybe_unused static long key_value(const char *path, const char *key)
{
	char line[512];
	long value = -1;
	size_t n = strlen(key);
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, n) && line[n] == ':')
			value = strtol(line + n + 1, NULL, 10);
	fclose(f);
	return value;
}

/*
 * The line of /proc/PID/smaps whose name is key, for the area that holds addr, copied to buf with
 * what follows the colon; false if there is no such area or line.
 */
maybe_unused static bool smaps_line(pid_t pid, const void *addr, const char *key, char *buf, size_t size)
{
	char line[1024], path[64];
	unsigned long from, to;
	bool inside = false, found = false;
	size_t n = strlen(key);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (unsigned long)addr >= from && (unsigned long)addr < to;
		else if (inside && !strncmp(line, key, n) && line[n] == ':') {
			snprintf(buf, size, "%s", line + n + 1);
			found = true;
		}
	}
	fclose(f);
	return found;
}

maybe_unused static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}
