/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * unix_flood: thousands of descriptors in flight, more than may be open by default, each another
 * description; sockets in sockets in sockets.
 */
#include "descriptors.h"
#include "sockets.h"
#include <sys/eventfd.h>

enum { MESSAGES = 12, EACH = 250, DEEP = 4 };

static int p[2];

static void send_many(uint64_t first, int n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * EACH)] = "";
	struct iovec iov = { "m", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int *fds = (int *)CMSG_DATA(c);

	*c = (struct cmsghdr){ CMSG_LEN(sizeof(int) * n), SOL_SOCKET, SCM_RIGHTS };
	for (int i = 0; i < n; i++) {
		uint64_t value = first + i;

		fds[i] = eventfd(0, 0);
		NEED(fds[i] >= 0 && write(fds[i], &value, 8) == 8);
	}
	NEED(sendmsg(p[0], &msg, 0) == 1);
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static void receive_many(uint64_t first, int n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * EACH)];
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int *fds;

	SAME(recvmsg(p[1], &msg, MSG_DONTWAIT), 1);
	c = CMSG_FIRSTHDR(&msg);
	CHECK(c && c->cmsg_len == CMSG_LEN(sizeof(int) * n));
	fds = (int *)CMSG_DATA(c);
	for (int i = 0; i < n; i++) {
		uint64_t value = 0;

		SAME(read(fds[i], &value, 8), 8);
		SAME(value, first + i);
		close(fds[i]);
	}
}

/* A chain of pairs, each in the queue of the next one; the last one in p's. */
static void send_chain(void)
{
	int inner = eventfd(77, 0);

	for (int i = 0; i < DEEP; i++) {
		int pair[2];

		NEED(socketpair(AF_UNIX, i % 2 ? SOCK_STREAM : SOCK_SEQPACKET, 0, pair) == 0);
		put(pair[0], "in", 2, &inner, 1);
		close(inner);
		close(pair[0]);
		inner = pair[1];
	}
	put(p[0], "chain", 5, &inner, 1);
	close(inner);
}

static void receive_chain(void)
{
	struct got g;
	uint64_t value = 0;
	int fd = p[1];

	for (int i = 0; i <= DEEP; i++) {
		get(&g, fd, 100);
		text_is(&g, i ? "in" : "chain");
		SAME(g.n_fds, 1);
		fd = g.fds[0];
	}
	SAME(read(fd, &value, 8), 8);
	SAME(value, 77);
}

int main(int argc, char **argv)
{
	subject_init(argc, argv);
	NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0);
	for (int i = 0; i < MESSAGES; i++)
		send_many(1 + i * EACH, EACH);
	send_chain();
	ready();
	wait_term();
	for (int i = 0; i < MESSAGES; i++)
		receive_many(1 + i * EACH, EACH);
	receive_chain();
	CHECK(recv(p[1], &argc, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
	pass();
}
