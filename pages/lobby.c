// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/lobby.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include "pages/wire.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum {
	/* How often is looked whether torpor was interrupted. */
	LOOK_MS = 500,
	/*
	 * Who connected first may speak first for so long: of the connections of one dump the first
	 * one leads the others, and its first packet may have to be sent again.
	 */
	COURTESY_US = 2000000,
};

void lobby_init(struct lobby *l, enum conn_role role, int listening)
{
	l->listening = listening;
	l->role = role;
	l->n = 0;
}

static void take_out(struct lobby *l, size_t i, struct conn *ret)
{
	*ret = l->waiting[i].conn;
	l->n--;
	memmove(&l->waiting[i], &l->waiting[i + 1], (l->n - i) * sizeof(*l->waiting));
}

static int let_in(struct lobby *l, struct err *err)
{
	struct conn c;
	int r;

	if (l->n == LOBBY_MAX) {
		take_out(l, 0, &c);
		log_warn("%s says nothing; it is let go", c.peer);
		conn_close(&c);
	}
	r = conn_accept(l->role, l->listening, &c, err);
	if (r == 0)
		l->waiting[l->n++] = (struct waiting){ .conn = c, .since = clock_us() };
	return r;
}

/* How many may speak now; *ret_ms: until this is to be asked again. */
static size_t may_speak(const struct lobby *l, int *ret_ms)
{
	uint64_t now = clock_us();

	*ret_ms = LOOK_MS;
	for (size_t i = 0; i < l->n; i++) {
		uint64_t left = l->waiting[i].since + COURTESY_US - now;

		if (left > COURTESY_US) /* its time is over */
			continue;
		*ret_ms = left / 1000 < LOOK_MS ? (int)(left / 1000) + 1 : LOOK_MS;
		return i + 1;
	}
	return l->n;
}

/* poll(2) tells of it when so many bytes are there, or the end. */
static void wait_for_bytes(const struct conn *c, int n)
{
	setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
}

enum word { LOST, UNFINISHED, SPOKEN };

/* LOST: it was reset, and there is nothing that one could read before one comes to that. */
static enum word look_at(const struct conn *c, short revents)
{
	uint8_t bytes[WIRE_HEAD_OLD];
	ssize_t n = recv(c->fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);

	if (revents & (POLLERR | POLLNVAL) && n <= 0)
		return LOST;
	if (revents & ~POLLIN || n <= 0 || wire_is_begun(bytes, (size_t)n))
		return SPOKEN;
	wait_for_bytes(c, sizeof(bytes));
	return UNFINISHED;
}

/* The first who has something to say: 1, or 0. Those that are lost are let go. */
static int hear(struct lobby *l, const struct pollfd *p, size_t n, struct conn *ret)
{
	for (size_t i = 0, at = 0; i < n; i++) {
		enum word word = p[i].revents ? look_at(&l->waiting[at].conn, p[i].revents) :
						UNFINISHED;

		if (word == UNFINISHED) {
			at++;
			continue;
		}
		take_out(l, at, ret);
		wait_for_bytes(ret, 1);
		if (word == SPOKEN)
			return 1;
		log_info("%s is gone without a word", ret->peer);
		conn_close(ret);
	}
	return 0;
}

int lobby_next(struct lobby *l, const struct conn *meanwhile, const char *when, struct conn *ret,
	struct err *err)
{
	struct pollfd p[2 + LOBBY_MAX];

	for (;;) {
		int wait_ms, r = interrupt_check(err);
		size_t n = may_speak(l, &wait_ms);

		if (r < 0)
			return r;
		p[0] = (struct pollfd){ .fd = l->listening, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = meanwhile ? meanwhile->fd : -1, .events = POLLRDHUP };
		for (size_t i = 0; i < n; i++)
			p[2 + i] = (struct pollfd){ .fd = l->waiting[i].conn.fd, .events = POLLIN | POLLRDHUP };
		if (poll(p, 2 + n, wait_ms) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(err, "cannot wait for a connection");
		}
		if (p[1].revents) /* who else comes has nothing to do with it */
			return conn_ended(meanwhile, when, err);
		if (hear(l, p + 2, n, ret))
			return 0;
		if (p[0].revents)
			r = let_in(l, err);
		if (r < 0)
			return r;
	}
}

void lobby_done(struct lobby *l)
{
	while (l->n)
		conn_close(&l->waiting[--l->n].conn);
}
