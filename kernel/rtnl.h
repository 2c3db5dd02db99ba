/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Network devices, their addresses and routes (rtnetlink(7)), of the caller's network namespace.
 * Functions return -errno where not said otherwise.
 */
#pragma once
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

struct rtnl_link {
	uint32_t index, mtu, flags; /* IFF_UP ... */
	uint32_t queue_len;
	uint8_t address[32];
	size_t address_len;
	int64_t owner, group; /* of a tun device, -1: none */
	bool has_ipv6;
	uint8_t address_mode; /* enum in6_addr_gen_mode: how it gets its link-local address */
	bool has_pi; /* of a tun device: packets have a head (no IFF_NO_PI) */
};

/* -ENODEV: there is none. */
int rtnl_link_get(const char *name, struct rtnl_link *ret);
/* Address, mtu, length of the queue, up or down; up without a new link-local address. */
int rtnl_link_set(const struct rtnl_link *link);
/* How it gets link-local addresses from now on. */
int rtnl_set_address_mode(uint32_t index, uint8_t mode);

typedef int rtnl_each(const struct nlmsghdr *h, void *ctx);
/*
 * Addresses of a device, then the routes by it that the kernel does not make itself, as messages
 * which rtnl_apply() takes; each returns 0 or the -errno that ends it.
 */
int rtnl_each_of_link(uint32_t index, rtnl_each *each, void *ctx);
/* Makes an address or a route of this device, whatever other device the message names. */
int rtnl_apply(const void *msg, size_t len, uint32_t index);
