/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nftables by netlink, without its tool: one table that drops all packets of some TCP connections,
 * both ways, and knowing and deleting tables by name (linux/netfilter/nf_tables.h; concatenated
 * keys since 4.1). Needs CAP_NET_ADMIN; works in the network namespace of the caller.
 */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include "kernel/flow.h"

/* A control group whose sockets are to be silent as well: its number and depth; level 0: none. */
struct nft_group {
	uint64_t id;
	uint32_t level;
};

/*
 * Makes "table inet NAME" with the sets conns4, conns6 and the chains input, output: packets with
 * NETWORK_LOCK_MARK pass, those of the flows are dropped, and all of TCP from and to sockets of the
 * group (since 5.13, with nft_socket). All or nothing; -EEXIST if there is a table of that name.
 */
int nft_drop_flows(const char *name, const struct flow *flows, size_t n, struct nft_group group,
	struct err *err) must_use;
/* Deletes "table inet NAME"; 1 if it was there, 0 if not. */
int nft_delete_table(const char *name, struct err *err) must_use;

struct nft_table {
	char name[64];
};
struct nft_tables vec_of(struct nft_table);
/* Tables of the family inet whose name starts with prefix; the caller calls vec_done(). */
int nft_list_tables(const char *prefix, struct nft_tables *ret, struct err *err) must_use;
/* 0 if this kernel and our privileges allow nftables here, else -errno. */
int nft_usable(void);
