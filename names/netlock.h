/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network lock: from the moment the connections of a tree are looked at until they have been
 * restored, no packet of theirs passes this host, neither in nor out; a peer sends again what it
 * got no answer to. Packets marked NETWORK_LOCK_MARK pass.
 *
 * The lock names connections: between dump and restore there is no socket, so what arrives then is
 * of no task and of no control group (it would be answered by a reset). While the sockets are still
 * there a tree that has a control group to itself is also locked as a whole: nobody gets into the
 * queue of a listener that was looked at already.
 *
 * By nftables it is one table "inet CRIU-<first 21 characters of the run's id>", by iptables two
 * rules per connection. Both have the form other tools make, so either side can take them away.
 */
#pragma once
#include "image/journal.h"
#include "kernel/flow.h"
#include "kernel/nft.h"
#include "options/options.h"

/* As in inventory_entry.network_lock_method. */
enum netlock_method { NETLOCK_IPTABLES = 0, NETLOCK_NFTABLES = 1, NETLOCK_SKIP = 2 };

enum { NETLOCK_TABLE = 64 };

/* What --network-lock means here: nftables unless something else was asked for or only that works. */
enum netlock_method netlock_choose(const struct options *o);
/* Name of the table of a dump: by its run id, or without one (before 4.1) by its root's pid. */
char *netlock_table(const char *run_id, int32_t root_pid, char buf[NETLOCK_TABLE]);

struct netlock {
	enum netlock_method method;
	char table[NETLOCK_TABLE]; /* nftables only */
	struct nft_group group; /* nftables only; what the kernel cannot do is left out */
	bool made; /* by us, not found */
	uint32_t effect; /* first number in the journal */
	size_t n_effects;
};

/*
 * Locks the flows, journal first; a table of that name that is there already will do. n may be 0
 * (nothing happens). `why` goes to the journal.
 */
int netlock_make(struct netlock *lock, const struct flow *flows, size_t n, struct journal *journal,
	const char *why, struct err *err) must_use;
/* Unlocks; that there is no such lock (any more) is fine. journal may be NULL. */
int netlock_break(struct netlock *lock, const struct flow *flows, size_t n, struct journal *journal,
	struct err *err) must_use;

/* ---- names/iptables.c ---- */
/* "127.0.0.1 54048 127.0.0.1 6666": ours and theirs, as a journal holds a flow. */
char *flow_text(const struct flow *f, char *buf, size_t size);
bool flow_parse(const char *text, struct flow *ret);
/* Adds the rules of flows by the tool iptables-restore (and ip6tables-restore). */
int iptables_add(const struct flow *flows, size_t n, struct err *err) must_use;
/* Deletes them; that there are none (any more) is fine. */
int iptables_delete(const struct flow *flows, size_t n, struct err *err) must_use;
struct flow_list vec_of(struct flow);
/* The flows for which there are rules of ours; none where the tools are not installed. */
int iptables_list(struct flow_list *ret, struct err *err) must_use;
/* Whether there is a rule for this flow. */
bool iptables_has(const struct flow_list *list, const struct flow *f);
