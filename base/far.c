// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See base/far.h. One request at a time: a futex word in the shared page goes IDLE -> ASKED (by us)
 * -> IDLE (by the child). Which child it is stands in one of the few file-scope variables, since who
 * looks at a file knows nothing of who else looks at files.
 */
#include "base/far.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum state { IDLE, ASKED };
enum { LOOK_NS = 100000000, INTERRUPTED_US = 2000000 };

struct request {
	_Atomic uint32_t state;
	long nr;
	int fd, flags;
	size_t len;
	off_t at;
	char path[PATH_MAX], other[PATH_MAX];
	long result; /* or -errno */
	union {
		struct stat st;
		struct statfs fs;
		char data[FAR_DATA];
	} ret;
};

static struct {
	struct request *r; /* NULL: calls are made directly */
	pid_t owner, child;
	uint64_t timeout_us;
	char hangs[PATH_MAX];
} far;

static long make(struct request *r)
{
	long n = -1;

	switch (r->nr) {
	case SYS_newfstatat:
		n = fstatat(r->fd, r->path, &r->ret.st, r->flags);
		break;
	case SYS_fstatfs:
		n = fstatfs(r->fd, &r->ret.fs);
		break;
	case SYS_openat:
		n = openat(r->fd, r->path, r->flags);
		break;
	case SYS_faccessat:
		n = faccessat(r->fd, r->path, r->flags, 0);
		break;
	case SYS_linkat:
		n = linkat(r->fd, r->other, AT_FDCWD, r->path, r->flags);
		break;
	case SYS_unlinkat:
		n = unlinkat(r->fd, r->path, 0);
		break;
	case SYS_pread64:
		n = pread(r->fd, r->ret.data, r->len, r->at);
		break;
	case SYS_lseek:
		n = lseek(r->fd, r->at, r->flags);
		break;
	case SYS_close:
		n = close(r->fd);
		break;
	default:
		errno = ENOSYS;
	}
	return n < 0 ? -errno : n;
}

static void wait_while(struct request *r, uint32_t state)
{
	const struct timespec look = { .tv_nsec = LOOK_NS };

	syscall(SYS_futex, &r->state, FUTEX_WAIT, state, &look, NULL, 0);
}

static void turn_to(struct request *r, uint32_t state)
{
	atomic_store(&r->state, state);
	syscall(SYS_futex, &r->state, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void child_main(struct request *r, pid_t owner)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == owner) {
		if (atomic_load(&r->state) != ASKED) {
			wait_while(r, IDLE);
			continue;
		}
		r->result = make(r);
		turn_to(r, IDLE);
	}
	_exit(0);
}

int far_begin(unsigned timeout_s, struct err *err)
{
	pid_t owner = getpid();
	struct request *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	long child;

	if (r == MAP_FAILED)
		return err_nomem(err);
	child = syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0);
	if (child == 0)
		child_main(r, owner);
	if (child < 0) {
		munmap(r, sizeof(*r));
		return err_sys(err, "cannot make a process that looks at files");
	}
	far.r = r;
	far.owner = owner;
	far.child = (pid_t)child;
	far.timeout_us = 1000000ull * timeout_s;
	return 0;
}

void far_end(void)
{
	if (!far.r || far.owner != getpid())
		return;
	kill(far.child, SIGKILL);
	while (!*far.hangs && waitpid(far.child, NULL, 0) < 0 && errno == EINTR)
		;
	munmap(far.r, sizeof(*far.r));
	far.r = NULL;
}

const char *far_hangs(void)
{
	return *far.hangs ? far.hangs : NULL;
}

/* ---- one call ---- */

/* The request to fill in; NULL: the call is to be made directly. */
static struct request *begin(long nr, int fd, const char *path, int flags)
{
	struct request *r = far.r;

	if (!r || far.owner != getpid())
		return NULL;
	if (*far.hangs)
		return r;
	r->nr = nr;
	r->fd = fd;
	r->flags = flags;
	snprintf(r->path, sizeof(r->path), "%s", path);
	return r;
}

/* What a link of /proc leads to is told without asking there. */
static void give_up(const struct request *r)
{
	char link[PATH_MAX];
	ssize_t n;

	if (*r->path == '/')
		snprintf(link, sizeof(link), "%s", r->path);
	else
		snprintf(link, sizeof(link), "/proc/self/fd/%d%s%.64s", r->fd, *r->path ? "/" : "", r->path);
	n = strncmp(link, "/proc/", 6) ? -1 : readlink(link, far.hangs, sizeof(far.hangs) - 1);
	if (n <= 0)
		snprintf(far.hangs, sizeof(far.hangs), "%s", link);
	else
		far.hangs[n] = '\0';
	kill(far.child, SIGKILL);
}

/* It is not the file system that it waits for. */
static bool gets_no_time(void)
{
	auto_free char *text = NULL;
	const char *state;

	if (io_slurpf(&text, NULL, "/proc/%d/stat", far.child) < 0)
		return false;
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'R';
}

static void await(struct request *r)
{
	uint64_t since = clock_us();

	turn_to(r, ASKED);
	while (atomic_load(&r->state) == ASKED) {
		uint64_t patience = interrupt_came() ? INTERRUPTED_US : far.timeout_us;

		if (patience && clock_us() - since > patience) {
			if (!gets_no_time()) {
				give_up(r);
				return;
			}
			since = clock_us();
		}
		wait_while(r, ASKED);
	}
}

/* Waits for it: -1 and errno, or the result. */
static long finish(struct request *r)
{
	if (!*far.hangs)
		await(r);
	if (*far.hangs || r->result < 0)
		errno = *far.hangs ? ETIMEDOUT : (int)-r->result;
	return *far.hangs || r->result < 0 ? -1 : r->result;
}

int far_fstat(int fd, struct stat *ret)
{
	return far_fstatat(fd, "", ret, AT_EMPTY_PATH);
}

int far_fstatat(int dirfd, const char *path, struct stat *ret, int flags)
{
	struct request *r = begin(SYS_newfstatat, dirfd, path, flags);

	if (!r)
		return fstatat(dirfd, path, ret, flags);
	if (finish(r) < 0)
		return -1;
	*ret = r->ret.st;
	return 0;
}

int far_fstatfs(int fd, struct statfs *ret)
{
	struct request *r = begin(SYS_fstatfs, fd, "", 0);

	if (!r)
		return fstatfs(fd, ret);
	if (finish(r) < 0)
		return -1;
	*ret = r->ret.fs;
	return 0;
}

int far_open(const char *path, int flags)
{
	struct request *r = begin(SYS_openat, AT_FDCWD, path, flags);

	return r ? (int)finish(r) : open(path, flags);
}

int far_access(const char *path, int mode)
{
	struct request *r = begin(SYS_faccessat, AT_FDCWD, path, mode);

	return r ? (int)finish(r) : access(path, mode);
}

int far_linkat(int olddir, const char *old, const char *path, int flags)
{
	struct request *r = begin(SYS_linkat, olddir, path, flags);

	if (!r)
		return linkat(olddir, old, AT_FDCWD, path, flags);
	if (!*far.hangs)
		snprintf(r->other, sizeof(r->other), "%s", old);
	return (int)finish(r);
}

int far_unlink(const char *path)
{
	struct request *r = begin(SYS_unlinkat, AT_FDCWD, path, 0);

	return r ? (int)finish(r) : unlink(path);
}

ssize_t far_pread(int fd, void *buf, size_t len, off_t at)
{
	struct request *r = begin(SYS_pread64, fd, "", 0);
	ssize_t n;

	if (!r)
		return pread(fd, buf, len, at);
	if (!*far.hangs) {
		r->len = len < FAR_DATA ? len : FAR_DATA;
		r->at = at;
	}
	n = finish(r);
	if (n > 0)
		memcpy(buf, r->ret.data, (size_t)n);
	return n;
}

int far_pread_all(int fd, void *buf, size_t len, off_t at)
{
	for (char *p = buf; len;) {
		ssize_t n = far_pread(fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

off_t far_lseek(int fd, off_t at, int whence)
{
	struct request *r = begin(SYS_lseek, fd, "", whence);

	if (!r)
		return lseek(fd, at, whence);
	if (!*far.hangs)
		r->at = at;
	return finish(r);
}

int far_close(int fd)
{
	struct request *r = begin(SYS_close, fd, "", 0);

	return r ? (int)finish(r) : close(fd);
}
