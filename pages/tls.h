/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLS on a connection that carries pages, with certificates on both sides, as --tls says. One room
 * for the library: pages/tls_openssl.c.
 */
#pragma once
#include "base/err.h"
#include "options/options.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct tls;

/* Files; NULL: the default place. A list of revoked certificates is only used if it is there. */
struct tls_files {
	const char *ca, *revoked, *cert, *key;
};

static inline struct tls_files tls_files_of(const struct options *o)
{
	return (struct tls_files){ o->tls_cacert, o->tls_cacrl, o->tls_cert, o->tls_key };
}

/* Whether the files can be used; who waits for connections asks before. */
int tls_check(const struct tls_files *files, struct err *err) must_use;
/*
 * The handshake on a connected socket, which stays the caller's. `peer` names who is at its other end,
 * in messages. Each side shows its certificate and
 * verifies that of the other one against the authority; a client also that it is `name`'s (NULL: not).
 */
int tls_begin(int fd, bool server, const char *peer, const struct tls_files *files, const char *name,
	struct tls **ret, struct err *err) must_use;
/*
 * Like read(2) and write(2), but errors are told. -EAGAIN, not told: nothing moved within the time
 * the socket is given; the same call is to be made again.
 */
ssize_t tls_read(struct tls *t, const char *peer, void *buf, size_t len, struct err *err) must_use;
ssize_t tls_write(struct tls *t, const char *peer, const void *buf, size_t len, struct err *err)
	must_use;
/* Whether there is something to read which the socket does not show any more. */
bool tls_has_more(const struct tls *t);
/* Tells the peer that this was all. */
void tls_end(struct tls *t);
