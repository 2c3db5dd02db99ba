/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A connection between two torpors (or a torpor and a criu) that carries pages: a stream socket,
 * plain or inside of TLS (pages/tls.h). One thread at a time may read it and one may write it.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct tls;
struct tls_files;

/* Who is at the other end. Every message names it so. */
enum conn_role {
	CONN_SERVER, /* a page server, which takes our pages */
	CONN_SENDER, /* a dump or pre-dump, which sends us its pages */
	CONN_OWNER, /* a dump or page server with --lazy-pages, which we ask for pages */
	CONN_ASKER, /* lazy-pages, which asks us for pages */
};

struct conn {
	int fd;
	struct tls *tls; /* NULL: plain */
	enum conn_role role;
	unsigned patience_s; /* a peer that does not move for so long is given up; 0: never */
	char peer[144]; /* "the page server at 192.0.2.1 port 7000", for messages */
};

/*
 * Connects to a numeric or named address; NULL is this computer. -ETIMEDOUT after 20 s.
 */
int conn_open(enum conn_role role, const char *address, uint16_t port, struct conn *ret,
	struct err *err) must_use;
/* Takes over a connected socket. */
void conn_of_fd(enum conn_role role, int take_fd, struct conn *ret);
/* Listens at an address (NULL: all) and port (0: any, told in *ret_port). */
int conn_listen(const char *address, uint16_t port, int *ret_fd, uint16_t *ret_port,
	struct err *err) must_use;
int conn_accept(enum conn_role role, int listening, struct conn *ret, struct err *err) must_use;
/*
 * Puts TLS inside. Whoever was connected to is the server there, and its certificate must be `name`'s
 * (NULL: anybody's).
 */
int conn_secure(struct conn *c, const struct tls_files *files, const char *name, struct err *err)
	must_use;
/* Says good-bye (TLS) and closes. Harmless for one that was never opened, with fd -1. */
void conn_close(struct conn *c);

/*
 * Both end early with -ETIMEDOUT where the peer does not move (patience_s), and with -EINTR when
 * torpor was interrupted (base/interrupt.h), in whatever thread.
 *
 * Exactly len bytes: 1, or 0 if the peer ended the stream before the first one.
 */
int conn_read(struct conn *c, void *buf, size_t len, struct err *err) must_use;
int conn_write(struct conn *c, const void *buf, size_t len, struct err *err) must_use;
/* Two pieces in one go. */
int conn_write2(struct conn *c, const void *head, size_t head_len, const void *body,
	size_t body_len, struct err *err) must_use;
/* The peer has ended the stream too early: "... has closed the connection WHEN". -ECONNRESET. */
int conn_ended(const struct conn *c, const char *when, struct err *err) must_use;
