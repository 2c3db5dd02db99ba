// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/conn.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "pages/tls.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 20000, BACKLOG = 16 };

static const struct role {
	const char *name;
	const char *way; /* the options that lead there */
	const char *advice; /* when the connection is lost */
	bool asks_first; /* it has connected to us */
} roles[] = {
	[CONN_SERVER] = { "the page server", "--address, --port",
		"its log tells why; if it has no --keep-listening, start it again before the next dump" },
	[CONN_SENDER] = { "the dump", "--port",
		"its log tells why; nothing of it is kept here", .asks_first = true },
	[CONN_OWNER] = { "the dump or page server that has the pages", "--address, --port",
		"its log tells why" },
	[CONN_ASKER] = { "lazy-pages", "--port", "the log of lazy-pages tells why",
		.asks_first = true },
};

/* ---- opening ---- */

static void name_peer(struct conn *c)
{
	const char *role = roles[c->role].name;
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	char host[48] = "?", port[8] = "?";

	if (getpeername(c->fd, (struct sockaddr *)&a, &len) == 0 &&
		getnameinfo((struct sockaddr *)&a, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(c->peer, sizeof(c->peer), "%s at %s port %s", role, host, port);
	else
		snprintf(c->peer, sizeof(c->peer), "%s at the given socket", role);
}

/* Who waits looks up once a second; a peer whose computer is gone is found out by the kernel. */
static void set_times(int fd)
{
	static const struct timeval slice = { .tv_sec = 1 };
	static const int on = 1, idle_s = 30, pause_s = 10, times = 6;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &slice, sizeof(slice));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slice, sizeof(slice));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &pause_s, sizeof(pause_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
}

void conn_of_fd(enum conn_role role, int take_fd, struct conn *ret)
{
	int one = 1;

	*ret = (struct conn){ .fd = take_fd, .role = role };
	/* not TCP: no harm */
	setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	set_times(take_fd);
	name_peer(ret);
}

/* Connects within the time; the socket blocks afterwards. */
static int connect_in_time(int fd, const struct addrinfo *a)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int failure = 0;
	socklen_t len = sizeof(failure);

	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
		if (errno != EINPROGRESS)
			return -errno;
		if (poll(&p, 1, CONNECT_MS) <= 0)
			return -ETIMEDOUT;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) < 0 || failure)
			return failure ? -failure : -errno;
	}
	return fcntl(fd, F_SETFL, O_RDWR) < 0 ? -errno : 0;
}

static int look_up(const char *address, uint16_t port, bool listens, struct addrinfo **ret,
	struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | (listens ? AI_PASSIVE : 0) };
	char service[8];
	int r;

	snprintf(service, sizeof(service), "%u", port);
	r = getaddrinfo(address, service, &hints, ret);
	if (r != 0)
		return err_set(err, ERR_USAGE, EINVAL, "the address '%s' cannot be found: %s",
			address ? address : "", gai_strerror(r));
	return 0;
}

int conn_open(enum conn_role role, const char *address, uint16_t port, struct conn *ret,
	struct err *err)
{
	struct addrinfo *list;
	int failure = -EADDRNOTAVAIL, r = look_up(address, port, false, &list, err);

	*ret = (struct conn){ .fd = -1 };
	if (r < 0)
		return r;
	for (struct addrinfo *a = list; a && failure < 0; a = a->ai_next) {
		int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		failure = fd < 0 ? -errno : connect_in_time(fd, a);
		if (failure == 0)
			conn_of_fd(role, fd, ret);
		else if (fd >= 0)
			close(fd);
	}
	freeaddrinfo(list);
	if (failure < 0)
		return err_sysn(err, -failure, "cannot connect to %s at %s port %u (%s)",
			roles[role].name, address ? address : "this computer", port, roles[role].way);
	return 0;
}

static int listen_at(const struct addrinfo *a)
{
	int one = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int failure;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	failure = -errno;
	close(fd);
	return failure;
}

int conn_listen(const char *address, uint16_t port, int *ret_fd, uint16_t *ret_port,
	struct err *err)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} bound = { 0 };
	socklen_t len = sizeof(bound);
	struct addrinfo *list;
	int fd = -EADDRNOTAVAIL, r = look_up(address, port, true, &list, err);

	if (r < 0)
		return r;
	for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = listen_at(a);
	freeaddrinfo(list);
	if (fd < 0)
		return err_sysn(err, -fd, "cannot listen at %s port %u (--address, --port)",
			address ? address : "all addresses", port);
	if (getsockname(fd, &bound.any, &len) == 0)
		*ret_port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port :
								   bound.v4.sin_port);
	*ret_fd = fd;
	return 0;
}

int conn_accept(enum conn_role role, int listening, struct conn *ret, struct err *err)
{
	int fd, r;

	do {
		r = io_await(listening, POLLIN, 0);
		if (r < 0 && interrupt_check(err) < 0)
			return -EINTR;
		fd = r < 0 ? r : accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	} while (r == 0 && fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0)
		return err_sysn(err, r < 0 ? -r : errno, "cannot accept a connection of %s",
			roles[role].name);
	conn_of_fd(role, fd, ret);
	return 0;
}

int conn_secure(struct conn *c, const struct tls_files *files, const char *name, struct err *err)
{
	return tls_begin(c->fd, roles[c->role].asks_first, c->peer, files, name, &c->tls, err);
}

void conn_close(struct conn *c)
{
	if (c->tls)
		tls_end(c->tls);
	if (c->fd >= 0)
		close(c->fd);
	*c = (struct conn){ .fd = -1 };
}

/* ---- bytes ---- */

static int broken(const struct conn *c, int number, struct err *err)
{
	return err_sysn(err, number, "the connection to %s is broken (%s)", c->peer,
		roles[c->role].advice);
}

int conn_ended(const struct conn *c, const char *when, struct err *err)
{
	return err_set(err, ERR_RESOURCE, ECONNRESET, "%s has closed the connection %s (%s)", c->peer,
		when, roles[c->role].advice);
}

/* Nothing moved for a moment; since is clock_us() of the last time something did. */
static int go_on(const struct conn *c, uint64_t since, const char *what, struct err *err)
{
	int r = interrupt_check(err);

	if (r < 0 || !c->patience_s || clock_us() - since < 1000000ull * c->patience_s)
		return r;
	return err_set(err, ERR_RESOURCE, ETIMEDOUT, "%s %s for %u s: given up", c->peer, what,
		c->patience_s);
}

static ssize_t read_some(struct conn *c, void *buf, size_t len, struct err *err)
{
	uint64_t since = clock_us();

	for (;;) {
		ssize_t n = c->tls ? tls_read(c->tls, c->peer, buf, len, err) :
				     recv(c->fd, buf, len, MSG_WAITALL);
		int r;

		if (c->tls && n != -EAGAIN)
			return n;
		if (n >= 0)
			return n;
		if (!c->tls && errno != EINTR && errno != EAGAIN)
			return broken(c, errno, err);
		r = go_on(c, since, "does not answer", err);
		if (r < 0)
			return r;
	}
}

int conn_read(struct conn *c, void *buf, size_t len, struct err *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read_some(c, (char *)buf + done, len - done, err);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return done == 0 ? 0 : conn_ended(c, "in the middle of something", err);
		done += (size_t)n;
	}
	return 1;
}

int conn_write(struct conn *c, const void *buf, size_t len, struct err *err)
{
	return conn_write2(c, buf, len, NULL, 0, err);
}

static const char takes_nothing[] = "takes nothing";

static int write_tls(struct conn *c, const uint8_t *buf, size_t len, struct err *err)
{
	uint64_t since = clock_us();

	while (len) {
		ssize_t n = tls_write(c->tls, c->peer, buf, len, err);

		if (n == -EAGAIN)
			n = go_on(c, since, takes_nothing, err);
		else
			since = clock_us();
		if (n < 0)
			return (int)n;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

int conn_write2(struct conn *c, const void *head, size_t head_len, const void *body,
	size_t body_len, struct err *err)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)head, head_len },
		{ (void *)(uintptr_t)body, body_len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	uint64_t since;
	int r;

	if (c->tls) {
		r = write_tls(c, head, head_len, err);
		return r < 0 ? r : write_tls(c, body, body_len, err);
	}
	since = clock_us();
	while (iov[0].iov_len + iov[1].iov_len) {
		ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return broken(c, errno, err);
		if (n < 0) {
			r = go_on(c, since, takes_nothing, err);
			if (r < 0)
				return r;
			continue;
		}
		since = clock_us();
		for (int i = 0; i < 2; i++) {
			size_t part = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

			if (!part) /* a piece of nothing has no address */
				continue;
			iov[i].iov_base = (char *)iov[i].iov_base + part;
			iov[i].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	return 0;
}
