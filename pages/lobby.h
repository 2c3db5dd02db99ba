/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where connections wait until they say something. Who connects and is silent (a scan of ports, a
 * dump that has not come to its pages yet) keeps nobody else waiting.
 */
#pragma once
#include "pages/conn.h"

enum { LOBBY_MAX = 64 };

struct lobby {
	int listening;
	enum conn_role role;
	struct waiting {
		struct conn conn;
		uint64_t since; /* clock_us() */
	} waiting[LOBBY_MAX]; /* the oldest first */
	size_t n;
};

void lobby_init(struct lobby *l, enum conn_role role, int listening);
/*
 * The next one that has said something, or has ended, becomes the caller's. If too many wait, the
 * oldest is let go. `meanwhile`, or NULL: as soon as it ends, that is the error, -ECONNRESET, with
 * `when` as conn_ended() has it. -EINTR when torpor was interrupted (base/interrupt.h).
 */
int lobby_next(struct lobby *l, const struct conn *meanwhile, const char *when, struct conn *ret,
	struct err *err) must_use;
/* Lets all go. */
void lobby_done(struct lobby *l);
