// SPDX-License-Identifier: GPL-2.0-or-later
/* See names/netlock.h. */
#include "names/netlock.h"
#include "kernel/nft.h"
#include <linux/membarrier.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RUN_ID_PART = 21 };

enum netlock_method netlock_choose(const struct options *o)
{
	const char *word = o->network_lock;

	if (word && (!strcmp(word, "skip") || !strcmp(word, "none")))
		return NETLOCK_SKIP;
	if (word && !strcmp(word, "nftables"))
		return NETLOCK_NFTABLES;
	if (word && !strcmp(word, "iptables"))
		return NETLOCK_IPTABLES;
	return nft_usable() == 0 ? NETLOCK_NFTABLES : NETLOCK_IPTABLES;
}

char *netlock_table(const char *run_id, int32_t root_pid, char buf[NETLOCK_TABLE])
{
	if (run_id)
		snprintf(buf, NETLOCK_TABLE, "CRIU-%.*s", RUN_ID_PART, run_id);
	else
		snprintf(buf, NETLOCK_TABLE, "CRIU-%d", root_pid);
	return buf;
}

static void in_this_network(struct effect *e)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		return;
	e->dev = st.st_dev;
	e->ino = st.st_ino;
}

static int make_table(struct netlock *lock, const struct flow *flows, size_t n,
	struct journal *journal, const char *why, struct err *err)
{
	char path[NETLOCK_TABLE + 8];
	struct effect e = { .kind = EFFECT_NFT_TABLE, .path = path, .why = why };
	int r;

	snprintf(path, sizeof(path), "inet %s", lock->table);
	in_this_network(&e);
	r = journal_add(journal, &e, &lock->effect, err);
	if (r < 0)
		return r;
	lock->n_effects = 1;
	r = nft_drop_flows(lock->table, flows, n, lock->group, err);
	/* a kernel without nft_socket */
	if (r == -ENOENT || r == -EOPNOTSUPP || r == -EINVAL) {
		err_clear(err);
		r = nft_drop_flows(lock->table, flows, n, (struct nft_group){ 0 }, err);
	}
	lock->made = r == 0;
	if (r < 0) {
		journal_gone(journal, lock->effect);
		lock->n_effects = 0;
	}
	if (r != -EEXIST)
		return r;
	err_clear(err);
	return 0;
}

static int make_rules(struct netlock *lock, const struct flow *flows, size_t n,
	struct journal *journal, const char *why, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		char text[128];
		struct effect e = { .kind = EFFECT_IPTABLES, .why = why,
			.path = flow_text(&flows[i], text, sizeof(text)) };

		in_this_network(&e);
		r = journal_note(journal, &e, i ? NULL : &lock->effect, err);
		lock->n_effects += r == 0;
	}
	if (r == 0)
		r = journal_sync(journal, err);
	lock->made = r == 0;
	return r < 0 ? r : iptables_add(flows, n, err);
}

/*
 * A packet that had passed the place of the lock before it stood may still be on its way to its
 * socket, on a processor that a hypervisor has taken away just then. It is there after an RCU grace
 * period, for which MEMBARRIER_CMD_GLOBAL waits (kernel/sched/membarrier.c; not with nohz_full).
 */
static void let_stragglers_arrive(void)
{
	(void)!syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

int netlock_make(struct netlock *lock, const struct flow *flows, size_t n, struct journal *journal,
	const char *why, struct err *err)
{
	int r;

	if (!n || lock->method == NETLOCK_SKIP)
		return 0;
	r = lock->method == NETLOCK_NFTABLES ? make_table(lock, flows, n, journal, why, err) :
					       make_rules(lock, flows, n, journal, why, err);
	if (r == 0)
		let_stragglers_arrive();
	return r;
}

int netlock_break(struct netlock *lock, const struct flow *flows, size_t n, struct journal *journal,
	struct err *err)
{
	int r = 0;

	if (lock->method == NETLOCK_NFTABLES)
		r = nft_delete_table(lock->table, err);
	else if (lock->method == NETLOCK_IPTABLES && n)
		r = iptables_delete(flows, n, err);
	if (r < 0)
		return r;
	lock->made = false;
	for (size_t i = 0; journal && i < lock->n_effects; i++)
		journal_gone(journal, lock->effect + (uint32_t)i);
	return 0;
}
