/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network tunnels (Documentation/networking/tuntap.rst); -errno where not said otherwise. */
#pragma once
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* What a descriptor that is attached to a device tells. */
struct tun_info {
	char name[IFNAMSIZ];
	/*
	 * IFF_TUN or IFF_TAP, IFF_PERSIST ...; IFF_DETACH_QUEUE: its queue is off. Not IFF_NO_PI, for
	 * which TUNGETIFF has another meaning (IFF_NOFILTER).
	 */
	uint32_t flags;
	int send_buffer, header; /* TUNSETSNDBUF, TUNSETVNETHDRSZ */
	uint32_t offload; /* TUN_F_* */
	bool little_endian; /* TUNSETVNETLE */
	bool filtered; /* TUNATTACHFILTER, by this queue */
	uint64_t netns; /* inode of the device's network namespace, 0 if the kernel does not tell */
};

/* -EBADFD: it is attached to none. */
int tun_look(int fd, struct tun_info *ret);
/* Attaches it to that device, which is made if there is none (index: with that number; 0: any). */
int tun_attach(int fd, const char *name, uint32_t flags, uint32_t index);
/* Turns its queue off. */
int tun_detach(int fd);
/* TUNSETCARRIER: as if no cable were plugged in. */
int tun_unplug(int fd);
/* Everything of the device but its name and flags; owner and group -1: none. */
int tun_set(int fd, const struct tun_info *info, int64_t owner, int64_t group);
