/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sockets of a network namespace as NETLINK_SOCK_DIAG lists them (sock_diag(7); net/unix/diag.c,
 * net/ipv4/inet_diag.c, net/netlink/diag.c, net/packet/diag.c): one request, one answer per socket.
 * Whoever needs single sockets makes an index of the whole list; asking for each is not linear,
 * because the kernel walks its tables every time.
 *
 * Parsers take the payload of one answer, never read beyond it, and fill plain structs that point
 * into it.
 */
#pragma once
#include "base/err.h"
#include <linux/inet_diag.h>
#include <linux/packet_diag.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Asks and goes through all answers; each() gets a payload and returns 0 or a negative errno. */
typedef int sock_diag_each(const void *payload, size_t len, void *ctx, struct err *err);

/*
 * A diag socket in the network namespace netns_fd (-1: our own), into which the calling thread
 * steps meanwhile. -ENOENT and the like later, when the kernel lacks a family.
 */
int sock_diag_open(int netns_fd, int *ret_fd, struct err *err) must_use;
/* All unix sockets, with all that can be told about them. */
int sock_diag_unix(int fd, sock_diag_each *each, void *ctx, struct err *err) must_use;
/* All of one family and protocol (IPPROTO_RAW: raw sockets of every protocol). */
int sock_diag_inet(int fd, int family, int protocol, sock_diag_each *each, void *ctx,
	struct err *err) must_use;
/* All TCP sockets of one family, with their keys of TCP-MD5. */
int sock_diag_tcp_keys(int fd, int family, sock_diag_each *each, void *ctx, struct err *err) must_use;
/*
 * Takes away a socket that was listed (SOCK_DESTROY, since 4.5, where the kernel is built with
 * INET_DIAG_DESTROY). -ENOENT: it is gone already. Needs CAP_NET_ADMIN.
 */
int sock_diag_destroy(int fd, int protocol, const struct inet_diag_msg *m, struct err *err) must_use;
/* All netlink sockets of every protocol; members of groups come twice. */
int sock_diag_netlink(int fd, sock_diag_each *each, void *ctx, struct err *err) must_use;
int sock_diag_packet(int fd, sock_diag_each *each, void *ctx, struct err *err) must_use;

/* ---- answers ---- */

struct diag_unix {
	uint32_t ino; /* 0: a connection nobody has accepted yet, or one on its way out */
	uint8_t type, state, shutdown; /* SOCK_*, TCP_*, bit 0 read, bit 1 write */
	bool has_peer;
	uint32_t peer; /* 0 with a peer: it belongs to no descriptor (not accepted yet) */
	bool has_vfs; /* bound to a path which still has an inode: */
	uint32_t vfs_ino, vfs_dev; /* the device in the kernel's form, major << 20 | minor */
	uint32_t rqueue, wqueue; /* listening: connections waiting, backlog; else bytes */
	const char *name; /* sun_path without the family; NULL when unbound */
	size_t name_len;
	const void *icons; /* inodes of clients waiting to be accepted, u32 each, in order */
	size_t n_icons;
};

/* struct tcp_diag_md5sig of linux/tcp.h, which cannot stand beside netinet/tcp.h. */
struct tcp_diag_key {
	uint8_t family, prefix;
	uint16_t len; /* of the key */
	uint8_t address[16], key[80];
};

struct diag_inet {
	struct inet_diag_msg msg;
	bool has_shutdown, has_v6only, has_protocol, has_mark;
	uint8_t shutdown, v6only, protocol; /* protocol: of raw sockets */
	uint32_t mark;
	const void *md5; /* keys of TCP-MD5, struct tcp_diag_key each; may be unaligned */
	size_t n_md5;
};

struct diag_netlink {
	uint32_t ino, portid, dst_portid, dst_group;
	uint8_t type, protocol, state;
	uint32_t flags; /* NDIAG_FLAG_* */
	const void *groups; /* bits of the groups it is a member of, in u32 words */
	size_t n_groups; /* words */
	uint32_t rmem; /* bytes waiting */
};

struct diag_packet {
	uint32_t ino;
	uint8_t type;
	uint16_t num; /* protocol, host order */
	struct packet_diag_info info;
	const struct packet_diag_mclist *mclist; /* may be unaligned: copy the elements */
	size_t n_mclist;
	bool has_rx, has_tx, has_fanout, has_filter;
	struct packet_diag_ring rx, tx;
	uint32_t fanout; /* id | type and flags << 16 */
	uint32_t rmem; /* bytes waiting */
};

/* False: too short, or not of that family. */
bool diag_parse_unix(const void *payload, size_t len, struct diag_unix *ret);
bool diag_parse_inet(const void *payload, size_t len, struct diag_inet *ret);
bool diag_parse_netlink(const void *payload, size_t len, struct diag_netlink *ret);
bool diag_parse_packet(const void *payload, size_t len, struct diag_packet *ret);

/* ---- a single socket ---- */

/*
 * Inode of the network namespace of a socket of ours and, if ret_fd is not NULL, a descriptor of
 * that namespace (SIOCGSKNS, since 4.10; -EPERM without CAP_NET_ADMIN there).
 */
int socket_netns(int fd, ino_t *ret_ino, int *ret_fd) must_use;
