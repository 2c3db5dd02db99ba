/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets which a socket of this host takes for its peer's: the only way to bring a TCP socket into
 * a state that a FIN of the peer, or the acknowledgement of ours, leads to. They are sent by a raw
 * socket to our own address, so they never leave the host, and carry the mark that the network
 * lock lets through. They come from as near as can be: 255 hops are left. Needs CAP_NET_RAW and
 * CAP_NET_ADMIN.
 */
#pragma once
#include "base/err.h"
#include "kernel/flow.h"
#include <stdbool.h>

enum { FORGED_HOPS = 255 };

struct forged_segment {
	uint32_t seq, ack;
	uint16_t window; /* as in the header: scaled */
	bool fin, rst;
};

/* A segment without data, from f->theirs to f->ours. */
int forge_segment(const struct flow *f, const struct forged_segment *s, struct err *err) must_use;
/* A UDP (or UDP-Lite: protocol 136) datagram, from f->theirs to f->ours. At most 65507 bytes. */
int forge_datagram(const struct flow *f, int protocol, const void *bytes, size_t len,
	struct err *err) must_use;
