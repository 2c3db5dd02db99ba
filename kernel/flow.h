/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who talks to whom: addresses and ports of the two ends of a connection. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Packets with this mark pass the network lock. */
#define NETWORK_LOCK_MARK 0xC114u

struct flow {
	int family; /* AF_INET or AF_INET6, as the packets on the wire have it */
	uint8_t ours[16], theirs[16]; /* network order; 4 bytes used for AF_INET */
	uint16_t our_port, their_port; /* host order */
};

static inline size_t flow_address_len(const struct flow *f)
{
	return f->family == AF_INET ? 4 : 16;
}
