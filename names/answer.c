// SPDX-License-Identifier: GPL-2.0-or-later
/* See names/answer.h. */
#include "names/answer.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/table.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

/* How often is looked whether there was an answer meanwhile. */
enum { LOOK_MS = 100, KILL_MS = 100, TOGETHER = 128 };

/* In memory that both have. */
struct asking {
	atomic_ulong answered; /* counts */
	struct unanswered now;
	struct table done; /* the child's own: 1 + device */
};

bool answer_is_doubtful(const struct mount_lines *mounts)
{
	static const char *const kinds[] = { "fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "coda",
		"lustre", "orangefs", "gfs2", "ocfs2", "virtiofs", "beegfs", "gpfs" };

	for (size_t i = 0; i < mounts->n; i++)
		for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++)
			if (!strncmp(mounts->at[i].type, kinds[k], strlen(kinds[k])))
				return true;
	return false;
}

/* ---- the child ---- */

bool answer_was_asked(const struct asking *a, uint32_t dev)
{
	return table_get(&a->done, 1 + (uint64_t)dev);
}

/*
 * The file itself is looked at without asking (AT_STATX_DONT_SYNC), as far as its name needs no
 * question; statfs(2) is answered from no cache.
 */
void answer_ask(struct asking *a, const char *path, int64_t who)
{
	struct statx x;
	struct statfs ignored;

	a->now.who = who;
	a->now.dev = 0;
	snprintf(a->now.path, sizeof(a->now.path), "%s", path);
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &x) == 0) {
		a->now.dev = x.stx_dev_major << 20 | x.stx_dev_minor;
		if (!answer_was_asked(a, a->now.dev)) {
			table_put(&a->done, 1 + (uint64_t)a->now.dev, a);
			(void)!statfs(path, &ignored);
		}
	}
	atomic_fetch_add(&a->answered, 1);
}

/* No descriptors: as long as it hangs it would keep pipes and sockets of others open. */
static void child_main(struct asking *a, void (*ask)(struct asking *a, const void *ctx),
	const void *ctx)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	if (syscall(SYS_close_range, 0U, ~0U, 0U) == 0)
		ask(a, ctx);
	_exit(0);
}

/* ---- torpor ---- */

static void end_child(pid_t pid, int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	kill(pid, SIGKILL);
	(void)!poll(&p, 1, KILL_MS);
	(void)!waitpid(pid, NULL, WNOHANG);
}

/* 1: nothing was answered for that long, or torpor was interrupted (also just before poll(2)). */
static int await_child(const struct asking *a, pid_t pid, unsigned timeout_s)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	unsigned long seen = atomic_load(&a->answered), now;
	uint64_t since = clock_us();

	while (!interrupt_came() && (!timeout_s || clock_us() - since < 1000000ull * timeout_s)) {
		int n = poll(&p, 1, LOOK_MS);

		if (n > 0) {
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
			return 0;
		}
		if (n < 0 && errno != EINTR)
			break;
		now = atomic_load(&a->answered);
		since = now != seen ? clock_us() : since;
		seen = now;
	}
	end_child(pid, pidfd);
	return 1;
}

int answer_await(void (*ask)(struct asking *a, const void *ctx), const void *ctx, unsigned timeout_s,
	struct unanswered *ret, struct err *err)
{
	struct asking *a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	pid_t pid;
	int r;

	if (a == MAP_FAILED)
		return err_nomem(err);
	pid = fork();
	if (pid == 0)
		child_main(a, ask, ctx);
	if (pid < 0) {
		munmap(a, sizeof(*a));
		return err_sys(err, "cannot make a process that asks file systems");
	}
	r = await_child(a, pid, timeout_s);
	if (r > 0 && interrupt_check(err) < 0)
		r = -EINTR;
	if (r > 0)
		*ret = a->now;
	munmap(a, sizeof(*a));
	return r;
}

/* ---- many at a time ---- */

struct many {
	pid_t pids[TOGETHER];
	struct pollfd p[TOGETHER]; /* fd: its pidfd, -1: it has answered */
	size_t n, left;
};

static int start_one(struct many *m, void (*ask)(struct asking *a, const void *ctx),
	const void *ctx, struct err *err)
{
	struct asking alone = { .answered = 0 };
	pid_t pid = fork();
	int pidfd, r;

	if (pid == 0)
		child_main(&alone, ask, ctx);
	if (pid < 0)
		return err_sys(err, "cannot make a process that asks file systems");
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		r = err_sys(err, "cannot wait for a process that asks file systems");
		end_child(pid, -1);
		return r;
	}
	m->pids[m->n] = pid;
	m->p[m->n++] = (struct pollfd){ .fd = pidfd, .events = POLLIN };
	m->left++;
	return 0;
}

static void take_ended(struct many *m)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->p[i].fd < 0 || !m->p[i].revents)
			continue;
		while (waitpid(m->pids[i], NULL, 0) < 0 && errno == EINTR)
			;
		close(m->p[i].fd);
		m->p[i].fd = -1;
		m->left--;
	}
}

static void await_many(struct many *m, unsigned timeout_s)
{
	uint64_t since = clock_us();

	while (m->left && !interrupt_came() &&
		(!timeout_s || clock_us() - since < 1000000ull * timeout_s))
		if (poll(m->p, m->n, LOOK_MS) > 0)
			take_ended(m);
}

/* At most TOGETHER of them. */
static int ask_many(void (*ask)(struct asking *a, const void *ctx), const void *const *ctx, size_t n,
	unsigned timeout_s, bool *ret_silent, struct err *err)
{
	struct many m = { .n = 0 };
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = start_one(&m, ask, ctx[i], err);
	if (r == 0)
		await_many(&m, timeout_s);
	for (size_t i = 0; i < m.n; i++) {
		ret_silent[i] = m.p[i].fd >= 0;
		if (!ret_silent[i])
			continue;
		end_child(m.pids[i], m.p[i].fd);
		close(m.p[i].fd);
	}
	return r < 0 ? r : interrupt_check(err);
}

int answer_which(void (*ask)(struct asking *a, const void *ctx), const void *const *ctx, size_t n,
	unsigned timeout_s, bool *ret_silent, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i += TOGETHER)
		r = ask_many(ask, ctx + i, n - i < TOGETHER ? n - i : TOGETHER, timeout_s,
			ret_silent + i, err);
	return r;
}

/* ---- the sentence ---- */

bool path_lies_below(const char *path, const char *point)
{
	size_t n = strlen(point);

	return n == 1 || (!strncmp(path, point, n) && (path[n] == '/' || !path[n]));
}

/* By its device, or by name: then the mount which is nearest to the file. */
static const struct mount_line *mount_of(const struct unanswered *u, const char *name,
	const struct mount_lines *mounts)
{
	const struct mount_line *found = NULL;

	for (size_t i = 0; i < mounts->n; i++) {
		const struct mount_line *m = &mounts->at[i];

		if (u->dev ? m->dev == u->dev :
			     path_lies_below(name, m->point) &&
				(!found || strlen(m->point) >= strlen(found->point)))
			found = m;
	}
	return found;
}

int answer_refuse(const struct unanswered *u, const struct mount_lines *mounts, const char *whose,
	const char *name, struct err *err)
{
	const struct mount_line *m = mount_of(u, name, mounts);

	return err_target(err, ETIMEDOUT, "%s cannot be looked at: the file system of '%.200s'%s%.40s%s"
		"%.200s%s does not answer (--timeout waits longer)", whose, name, m ? " (" : "",
		m ? m->type : "", m ? " on '" : "", m ? m->point : "", m ? "')" : "");
}
