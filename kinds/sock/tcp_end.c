// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCP sockets whose connection is over: what the peer had sent before can still be read, and then
 * comes the end or an error. That error cannot be looked at without being taken, only that there is one
 * (POLLERR): a connection that had come about was reset, any other was refused.
 *
 * Restore: such a socket is connected in repair to nobody, gets its bytes and then hears, in nobody's
 * name (kernel/forge.h), what had ended it. One that was refused asks a port where nobody listens. It
 * chooses its own port: a bound one would be held until the socket is closed.
 */
#include "base/cleanup.h"
#include "kernel/forge.h"
#include "kernel/tcp_repair.h"
#include "kinds/sock/family.h"
#include "kinds/sock/inet.h"
#include "kinds/sock/tcp.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

enum ended { ENDED_BY_BOTH = 1, ENDED_RESET, ENDED_REFUSED };
/* Any numbers will do: nobody else has seen them. */
enum { NOBODYS_PORT = 9, SEQ = 1000, WINDOW = 65535, PATIENCE_MS = 1000 };

/* ---- dump ---- */

static bool has_error(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

/* What waits, without taking it. */
static int peek(int fd, int len, struct arena *arena, ProtobufCBinaryData *ret, struct err *err)
{
	socklen_t size = sizeof(int);
	int off = -1, none = -1;
	ssize_t n;

	if (getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, &size) == 0 && off >= 0)
		(void)!setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &none, sizeof(none));
	ret->data = arena_array(arena, (size_t)len, 1);
	n = recv(fd, ret->data, (size_t)len, MSG_PEEK | MSG_DONTWAIT);
	if (off >= 0)
		(void)!setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off));
	if (n < 0)
		return err_sys(err, "cannot copy what waits in a TCP socket");
	ret->len = (size_t)n;
	return 0;
}

int tcp_end_collect(int fd, struct world *w, const InetSkEntry *e, bool came_about, struct err *err)
{
	bool error = has_error(fd);
	TorporFileEntry *extra;
	int unread = 0;

	if (!came_about && !error)
		return 0; /* as good as new */
	extra = world_want_extra(w, e->id);
	extra->has_ended = true;
	extra->ended = !came_about ? ENDED_REFUSED : error ? ENDED_RESET : ENDED_BY_BOTH;
	if (ioctl(fd, FIONREAD, &unread) < 0 || unread <= 0)
		return 0;
	extra->has_unread = true;
	return peek(fd, unread, w->arena, &extra->unread, err);
}

/* ---- restore ---- */

bool tcp_end_wanted(const struct world *w, const InetSkEntry *e)
{
	const TorporFileEntry *extra = world_extra(w, e->id);

	return e->state == TCP_STATE_CLOSE && e->type == SOCK_STREAM && extra && extra->has_ended;
}

/* lo's address, as the socket can have it. */
static union inet_name nobody(const InetSkEntry *e, uint16_t port)
{
	union inet_name n = { 0 };

	if (e->family == AF_INET) {
		n.v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	} else {
		n.v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
		inet_pton(AF_INET6, e->v6only ? "::1" : "::ffff:127.0.0.1", &n.v6.sin6_addr);
	}
	return n;
}

static int connect_to_nobody(const InetSkEntry *e, int fd, struct flow *ret, struct err *err)
{
	union inet_name theirs = nobody(e, NOBODYS_PORT), ours = { 0 };
	socklen_t len = sizeof(ours);
	const struct tcp_window w = { SEQ, WINDOW, WINDOW, WINDOW, SEQ };
	int r = tcp_set_seq(fd, TCP_QUEUE_SEND, SEQ, err);

	if (r == 0)
		r = tcp_set_seq(fd, TCP_QUEUE_RECV, SEQ, err);
	if (r < 0)
		return r;
	if (connect(fd, &theirs.any, inet_name_len(&theirs)) < 0 ||
		getsockname(fd, &ours.any, &len) < 0)
		return err_sys(err, "cannot set up a TCP socket whose connection is over");
	inet_flow_between(&ours, &theirs, ret);
	return tcp_set_window(fd, &w, err);
}

/* The queue may have used up the window: what ends the connection has to fit in. */
static int hear(const struct flow *f, int fd, uint32_t behind, const struct forged_segment *what,
	struct err *err)
{
	const struct tcp_window w = { SEQ, WINDOW, WINDOW, WINDOW, behind };
	struct forged_segment s = *what;
	int r = tcp_set_window(fd, &w, err);

	s.seq = behind;
	s.window = WINDOW;
	return r < 0 ? r : forge_segment(f, &s, err);
}

/* Theirs, ours, and the word that ours was heard. */
static int hear_ends(const struct flow *f, int fd, uint32_t behind, struct err *err)
{
	int r = hear(f, fd, behind, &(struct forged_segment){ .ack = SEQ, .fin = true }, err);

	if (r == 0)
		r = tcp_wait_state(fd, TCP_STATE_CLOSE_WAIT, err);
	/* with the send queue chosen the FIN counts as sent */
	if (r == 0)
		r = tcp_fill_queue(fd, TCP_QUEUE_SEND, "", 0, err);
	if (r == 0 && shutdown(fd, SHUT_WR) < 0)
		r = err_sys(err, "cannot close our half of a TCP connection");
	if (r == 0)
		r = hear(f, fd, behind + 1, &(struct forged_segment){ .ack = SEQ + 1 }, err);
	return r;
}

static int end_in_repair(const InetSkEntry *e, const TorporFileEntry *extra, int fd, struct err *err)
{
	uint32_t behind = SEQ + (uint32_t)extra->unread.len;
	struct flow f;
	int r = connect_to_nobody(e, fd, &f, err);

	if (r == 0 && extra->unread.len)
		r = tcp_fill_queue(fd, TCP_QUEUE_RECV, extra->unread.data, extra->unread.len, err);
	if (r == 0 && extra->ended == ENDED_RESET)
		r = hear(&f, fd, behind, &(struct forged_segment){ .ack = SEQ, .rst = true }, err);
	else if (r == 0)
		r = hear_ends(&f, fd, behind, err);
	return r < 0 ? r : tcp_wait_state(fd, TCP_STATE_CLOSE, err);
}

/* A port that is held while we ask, by somebody who does not listen. */
static int get_refused(const InetSkEntry *e, int fd, struct err *err)
{
	auto_close int other = socket((int)e->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	union inet_name n = nobody(e, 0);
	socklen_t len = sizeof(n);
	struct pollfd p = { .fd = fd };

	if (other < 0 || bind(other, &n.any, inet_name_len(&n)) < 0 ||
		getsockname(other, &n.any, &len) < 0)
		return err_sys(err, "cannot make a socket that refuses connections");
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return err_sys(err, "cannot set O_NONBLOCK");
	if (connect(fd, &n.any, inet_name_len(&n)) == 0 || errno != EINPROGRESS ||
		poll(&p, 1, PATIENCE_MS) != 1)
		return err_set(err, ERR_KERNEL, EIO, "a connection that should be refused was not");
	return 0;
}

/*
 * What we say is acknowledged to nobody, which the kernel answers by a reset. No network lock holds that
 * back, but that it comes with fewer hops left than what we send.
 */
static int hear_only_us(int fd, int hops, struct err *err)
{
	if (setsockopt(fd, IPPROTO_IP, IP_MINTTL, &hops, sizeof(hops)) < 0)
		return err_sys(err, "cannot set IP_MINTTL");
	if (sock_number(fd, SO_DOMAIN, AF_INET) == AF_INET6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_MINHOPCOUNT, &hops, sizeof(hops)) < 0)
		return err_sys(err, "cannot set IPV6_MINHOPCOUNT");
	return 0;
}

static int end_on_lo(const InetSkEntry *e, const TorporFileEntry *extra, int fd, struct err *err)
{
	int reuse = e->opts->reuseaddr, r;

	if (extra->ended == ENDED_REFUSED)
		return get_refused(e, fd, err);
	r = hear_only_us(fd, FORGED_HOPS, err);
	if (r == 0)
		r = tcp_repair_begin(fd, err);
	if (r == 0)
		r = end_in_repair(e, extra, fd, err);
	if (r == 0)
		r = tcp_repair_end(fd, false, err);
	if (r == 0)
		r = hear_only_us(fd, 0, err);
	if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) < 0)
		r = err_sys(err, "cannot set SO_REUSEADDR");
	return r;
}

int tcp_end_make(struct file_maker *m, const InetSkEntry *e, int fd, struct err *err)
{
	const TorporFileEntry *extra = world_extra(m->world, e->id);
	char device[IF_NAMESIZE] = "";
	int r = inet_leave_device(fd, device, err);

	if (r == 0)
		r = end_on_lo(e, extra, fd, err);
	return r < 0 ? r : inet_enter_device(fd, device, err);
}
