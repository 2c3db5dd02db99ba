/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sending, receiving and comparing for subjects with sockets. */
#pragma once
#include "subject.h"
#include <grp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* One received message, with the descriptors and credentials that came with it. */
struct got {
	ssize_t len;
	char text[4096];
	int fds[16];
	int n_fds;
	bool has_creds;
	struct ucred creds;
	struct sockaddr_un from;
	socklen_t from_len;
};

static void put_full(int fd, const char *text, size_t len, const int *fds, int n,
	const struct ucred *creds)
{
	_Alignas(struct cmsghdr) char control[256] = "";
	struct iovec iov = { (void *)text, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *c = (struct cmsghdr *)control;

	if (n) {
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(int) * n), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		c = (struct cmsghdr *)(control + msg.msg_controllen);
	}
	if (creds) {
		*c = (struct cmsghdr){ CMSG_LEN(sizeof(*creds)), SOL_SOCKET, SCM_CREDENTIALS };
		memcpy(CMSG_DATA(c), creds, sizeof(*creds));
		msg.msg_controllen += CMSG_SPACE(sizeof(*creds));
	}
	if (!msg.msg_controllen)
		msg.msg_control = NULL;
	NEED(sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len);
}

maybe_unused static void put(int fd, const char *text, size_t len, const int *fds, int n)
{
	put_full(fd, text, len, fds, n, NULL);
}

maybe_unused static void put_as(int fd, const char *text, size_t len, pid_t pid, uid_t uid, gid_t gid)
{
	struct ucred creds = { pid, uid, gid };

	put_full(fd, text, len, NULL, 0, &creds);
}

/* At most `want` bytes; there must be a message. */
maybe_unused static void get(struct got *g, int fd, size_t want)
{
	_Alignas(struct cmsghdr) char control[512];
	struct iovec iov = { g->text, want };
	struct msghdr msg = { .msg_name = &g->from, .msg_namelen = sizeof(g->from), .msg_iov = &iov,
		.msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	g->n_fds = 0;
	g->has_creds = false;
	g->len = recvmsg(fd, &msg, MSG_DONTWAIT);
	if (g->len < 0)
		fail("nothing comes from descriptor %d: %s", fd, strerror(errno));
	g->from_len = msg.msg_namelen;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_type == SCM_RIGHTS) {
			g->n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(g->fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
		}
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&g->creds, CMSG_DATA(c), sizeof(g->creds));
			g->has_creds = true;
		}
	}
}

#define text_is(g, want)                                                                      \
	do {                                                                                  \
		if ((g)->len != (ssize_t)strlen(want) || memcmp((g)->text, want, (g)->len))   \
			fail("line %d: received '%.*s', not '%s'", __LINE__, (int)(g)->len,   \
				(g)->text, want);                                             \
	} while (0)

maybe_unused static int sock_int(int fd, int option)
{
	int v = -12345;
	socklen_t len = sizeof(v);

	CHECK(getsockopt(fd, SOL_SOCKET, option, &v, &len) == 0);
	return v;
}

/* Whom a unix socket names as its peer. */
struct maker_note {
	struct ucred creds;
	gid_t groups[32];
	int n_groups;
	int pidfd_pid; /* of SO_PEERPIDFD, -1 none, -2 the kernel cannot tell */
};

maybe_unused static int pidfd_pid(int fd)
{
	int pidfd = -1;
	socklen_t len = sizeof(pidfd);
	char path[64];
	long pid;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) < 0)
		return errno == ENOPROTOOPT ? -2 : -1;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	pid = key_value(path, "Pid");
	close(pidfd);
	return (int)pid;
}

maybe_unused static void maker_note(struct maker_note *n, int fd)
{
	socklen_t len = sizeof(n->creds);

	memset(n, 0, sizeof(*n));
	NEED(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &n->creds, &len) == 0);
	len = sizeof(n->groups);
	n->n_groups = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, n->groups, &len) < 0 ? -1 :
		(int)(len / sizeof(gid_t));
	n->pidfd_pid = pidfd_pid(fd);
}

maybe_unused static void maker_check(const struct maker_note *n, int fd)
{
	struct maker_note is;

	maker_note(&is, fd);
	if (is.creds.pid != n->creds.pid || is.creds.uid != n->creds.uid || is.creds.gid != n->creds.gid)
		fail("the peer of descriptor %d is %d (%d:%d), not %d (%d:%d)", fd, is.creds.pid,
			is.creds.uid, is.creds.gid, n->creds.pid, n->creds.uid, n->creds.gid);
	if (is.n_groups != n->n_groups || (n->n_groups > 0 &&
		memcmp(is.groups, n->groups, n->n_groups * sizeof(gid_t))))
		fail("the peer of descriptor %d is in %d groups, not %d", fd, is.n_groups, n->n_groups);
	if (is.pidfd_pid != n->pidfd_pid)
		fail("the pidfd of descriptor %d is of %d, not %d", fd, is.pidfd_pid, n->pidfd_pid);
}
