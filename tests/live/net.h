/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Common part of the subjects with internet sockets; they run in a network namespace of their own. */
#pragma once
#include "subject.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

union name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

maybe_unused static socklen_t name_len(const union name *n)
{
	return n->any.sa_family == AF_INET ? sizeof(n->v4) : sizeof(n->v6);
}

maybe_unused static union name name_make(const char *address, int port)
{
	union name n = { 0 };

	if (strchr(address, ':')) {
		n.v6.sin6_family = AF_INET6;
		n.v6.sin6_port = htons(port);
		NEED(inet_pton(AF_INET6, address, &n.v6.sin6_addr) == 1);
	} else {
		n.v4.sin_family = AF_INET;
		n.v4.sin_port = htons(port);
		NEED(inet_pton(AF_INET, address, &n.v4.sin_addr) == 1);
	}
	return n;
}

maybe_unused static int port_of(int fd)
{
	union name n;
	socklen_t len = sizeof(n);

	CHECK(getsockname(fd, &n.any, &len) == 0);
	return ntohs(n.any.sa_family == AF_INET ? n.v4.sin_port : n.v6.sin6_port);
}

/* Both names of a socket, as bytes to compare. */
struct ends {
	union name ours, theirs;
	socklen_t ours_len, theirs_len; /* 0: none */
};

maybe_unused static struct ends ends_of(int fd)
{
	struct ends e;

	memset(&e, 0, sizeof(e));
	e.ours_len = sizeof(e.ours);
	e.theirs_len = sizeof(e.theirs);
	if (getsockname(fd, &e.ours.any, &e.ours_len) < 0)
		e.ours_len = 0;
	if (getpeername(fd, &e.theirs.any, &e.theirs_len) < 0)
		e.theirs_len = 0;
	if (!e.theirs_len)
		memset(&e.theirs, 0, sizeof(e.theirs));
	return e;
}

maybe_unused static int listen_on(const char *address, int port, int backlog)
{
	union name n = name_make(address, port);
	int fd = socket(n.any.sa_family, SOCK_STREAM, 0);

	NEED(fd >= 0 && bind(fd, &n.any, name_len(&n)) == 0 && listen(fd, backlog) == 0);
	return fd;
}

maybe_unused static int connect_to(const char *address, int port)
{
	union name n = name_make(address, port);
	int fd = socket(n.any.sa_family, SOCK_STREAM, 0);

	CHECK(fd >= 0 && connect(fd, &n.any, name_len(&n)) == 0);
	return fd;
}

/* A connection and its two ends. */
struct wire {
	int a, b; /* a has connected, b was accepted */
};

maybe_unused static struct wire wire_make(int listener, const char *address)
{
	struct wire w = { .a = connect_to(address, port_of(listener)) };

	w.b = accept(listener, NULL, NULL);
	CHECK(w.b >= 0);
	return w;
}

maybe_unused static int tcp_state(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0);
	return info.tcpi_state;
}

maybe_unused static bool reaches_state(int fd, int state)
{
	for (int i = 0; i < PATIENCE_MS && tcp_state(fd) != state; i++)
		usleep(1000);
	return tcp_state(fd) == state;
}

maybe_unused static void send_all(int fd, const void *buf, size_t len)
{
	for (const char *p = buf; len;) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		CHECK(n > 0);
		p += n;
		len -= n;
	}
}

/* Waits for each byte. */
maybe_unused static void recv_all(int fd, void *buf, size_t len)
{
	for (char *p = buf; len;) {
		struct pollfd w = { .fd = fd, .events = POLLIN };
		ssize_t n;

		CHECK(poll(&w, 1, PATIENCE_MS) == 1);
		n = recv(fd, p, len, 0);
		if (n <= 0)
			fail("recv of descriptor %d: %zd, %s, %zu bytes missing", fd, n, strerror(errno), len);
		p += n;
		len -= n;
	}
}

/* The other half was closed. */
maybe_unused static void recv_end(int fd)
{
	struct pollfd w = { .fd = fd, .events = POLLIN };
	char c;

	CHECK(poll(&w, 1, PATIENCE_MS) == 1);
	SAME(recv(fd, &c, 1, 0), 0);
}

/* A few bytes both ways. */
maybe_unused static void wire_works(struct wire w, uint64_t seed)
{
	char out[64], in[64];

	fill(out, sizeof(out), seed);
	send_all(w.a, out, sizeof(out));
	recv_all(w.b, in, sizeof(in));
	CHECK(holds(in, sizeof(in), seed));
	fill(out, sizeof(out), seed + 1);
	send_all(w.b, out, sizeof(out));
	recv_all(w.a, in, sizeof(in));
	CHECK(holds(in, sizeof(in), seed + 1));
}

maybe_unused static long long get_option(int fd, int level, int name)
{
	unsigned char value[8] = { 0 };
	socklen_t len = sizeof(value);
	long long v = 0;

	if (getsockopt(fd, level, name, value, &len) < 0)
		return -1000 - errno;
	memcpy(&v, value, len > 8 ? 8 : len);
	return v;
}

maybe_unused static void set_option(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		fail("setup: option %d:%d to %d: %s", level, name, value, strerror(errno));
}
