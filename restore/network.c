// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The network while connections come back. It is locked from the dump on where that was on this
 * host; elsewhere we lock it, so that no packet finds a socket missing. When all else is done the
 * connections are woken, still locked: should that fail, all fall silent again before their tasks
 * are killed, and the next try finds everything as this one did. Then the network is unlocked. From
 * then on nothing may fail: what has passed meanwhile, no images know.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "image/journal.h"
#include "kernel/nft.h"
#include "kernel/tcp_repair.h"
#include "restore/ctx.h"
#include <errno.h>
#include <sys/syscall.h>

/* Options that images with connections need; said before anything is created. */
static int check_options(const struct restore *rs, struct err *err)
{
	InventoryEntry *inv = rs->world->inventory;
	size_t n = rs->flows.n;

	if (inv->tcp_close && !rs->o->tcp_close)
		return err_usage(err, "the images were made with --tcp-close; restoring them needs it, "
			"too");
	if (rs->o->tcp_close)
		inv->has_tcp_close = inv->tcp_close = true;
	else if (n && !rs->o->tcp_established)
		return err_usage(err, "the images hold %zu TCP connection%s; restoring them needs "
			"--tcp-established (or --tcp-close to drop them)", n, n == 1 ? "" : "s");
	return 0;
}

static void choose_lock(struct restore *rs)
{
	const InventoryEntry *inv = rs->world->inventory;

	rs->lock.method = inv->has_network_lock_method ?
		(enum netlock_method)inv->network_lock_method : NETLOCK_IPTABLES;
	netlock_table(inv->dump_criu_run_id, rs->world->root->pid, rs->lock.table);
}

/* Whether the dump's lock stands: then it is not ours to take back when we fail. */
static int find_lock(struct restore *rs, bool *ret, struct err *err)
{
	struct nft_tables tables = { 0 };
	struct flow_list rules = { 0 };
	int r = 0;

	*ret = false;
	if (rs->lock.method == NETLOCK_NFTABLES && nft_usable() == 0) {
		r = nft_list_tables(rs->lock.table, &tables, err);
		*ret = tables.n > 0;
	} else if (rs->lock.method == NETLOCK_IPTABLES) {
		r = iptables_list(&rules, err);
		*ret = r == 0 && iptables_has(&rules, &rs->flows.at[0]);
	}
	vec_done(&tables);
	vec_done(&rules);
	return r;
}

int restore_lock_network(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	struct netlock wanted;
	struct journal *journal;
	int r;

	tcp_flows_of(rs->world, &rs->flows);
	r = check_options(rs, err);
	if (r < 0 || !rs->flows.n)
		return r;
	choose_lock(rs);
	r = find_lock(rs, &rs->lock_found, err);
	if (r == 0)
		r = image_set_journal(rs->images, &journal, err);
	if (r < 0 || rs->lock_found || rs->lock.method == NETLOCK_SKIP)
		return r;
	/* Not locked here: any way to lock will do. The dump's name, so that the next try finds it. */
	wanted = rs->lock;
	wanted.method = nft_usable() == 0 ? NETLOCK_NFTABLES : NETLOCK_IPTABLES;
	r = netlock_make(&wanted, rs->flows.at, rs->flows.n, journal,
		"keeps connections quiet while they are restored", err);
	if (r == 0)
		rs->lock = wanted;
	if (r != -EROFS && r != -EACCES)
		return r;
	/* Nothing is made that cannot be noted before. */
	log_warn("%s; the network is not locked: a packet that comes in meanwhile ends its connection",
		err->text);
	err_clear(err);
	rs->lock.method = NETLOCK_SKIP;
	return 0;
}

static void break_lock(struct restore *rs)
{
	struct err err = ERR_INIT;
	struct journal *journal;

	if (image_set_journal(rs->images, &journal, &err) < 0 ||
		netlock_break(&rs->lock, rs->flows.at, rs->flows.n, journal, &err) < 0)
		log_warn("%s; connections stay locked: see 'torpor leftovers'", err.text);
}

void restore_unlock_network(void *ctx)
{
	struct restore *rs = ctx;

	if (rs->flows.n && !rs->lock_found && rs->lock.made)
		break_lock(rs);
}

/* ---- waking ---- */

struct holder {
	const struct task *task;
	int fd;
};

/* Some task and number for every connection. */
static void find_holders(struct restore *rs, struct table *holders)
{
	world_each_task(t, rs->world) {
		if (!task_is_alive(t) || t->fds->owner != t)
			continue;
		for (size_t i = 0; i < t->fds->n_fds; i++) {
			const FdinfoEntry *e = t->fds->fds[i];
			struct holder *h;

			if (e->type != FD_TYPES__INETSK || table_get(holders, e->id))
				continue;
			h = arena_new_of(rs->world->arena, struct holder);
			*h = (struct holder){ t, (int)e->fd };
			table_put(holders, e->id, h);
		}
	}
}

/* Calls fn with a descriptor of every connection that a task has. */
static int each_connection(struct restore *rs,
	int (*fn)(struct restore *rs, const FileEntry *fe, int fd, struct err *err), struct err *err)
{
	const struct entry_list *list = &rs->world->entries[IMG_FILES];
	struct table holders = { 0 };
	const struct task *task = NULL;
	auto_close int pidfd = -1;
	int r = 0;

	find_holders(rs, &holders);
	for (size_t i = 0; i < list->n && r == 0; i++) {
		const FileEntry *fe = list->at[i]->msg;
		const struct holder *h = tcp_sleeps(rs->world, fe) ? table_get(&holders, fe->id) : NULL;
		auto_close int fd = -1;

		if (!h)
			continue;
		if (h->task != task) {
			task = h->task;
			if (pidfd >= 0)
				close(pidfd);
			pidfd = (int)syscall(SYS_pidfd_open, husk_of(rs, task)->pid, 0);
		}
		fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, h->fd, 0);
		r = fd < 0 ? err_sys(err, "cannot get descriptor %d of task %d", h->fd, task->pid) :
			     fn(rs, fe, fd, err);
	}
	table_done(&holders);
	return r;
}

static int wake(struct restore *rs, const FileEntry *fe, int fd, struct err *err)
{
	return tcp_wake(rs->world, rs->images, fe, fd, err);
}

static int silence(struct restore *rs, const FileEntry *fe, int fd, struct err *err)
{
	struct err ignored = ERR_INIT;

	if (tcp_repair_is_on(fd) == 0)
		(void)!tcp_repair_begin(fd, &ignored);
	return 0;
}

int restore_wake(void *ctx, struct err *err)
{
	struct restore *rs = ctx;

	return rs->flows.n ? each_connection(rs, wake, err) : 0;
}

void restore_silence(void *ctx)
{
	struct restore *rs = ctx;
	struct err err = ERR_INIT;

	if (rs->flows.n && each_connection(rs, silence, &err) < 0)
		log_warn("%s; a peer may see that its connection ends", err.text);
}

/* ---- unlocking ---- */

static int speak(struct restore *rs, const FileEntry *fe, int fd, struct err *err)
{
	(void)rs, (void)err;
	tcp_speak(fe, fd);
	return 0;
}

int restore_open_network(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	struct err ignored = ERR_INIT;
	struct journal *journal;
	int r;

	if (!rs->flows.n)
		return 0;
	r = image_set_journal(rs->images, &journal, err);
	if (r == 0)
		r = netlock_break(&rs->lock, rs->flows.at, rs->flows.n, journal, err);
	/* without that their timers will do it, later */
	if (r == 0)
		(void)!each_connection(rs, speak, &ignored);
	return r;
}

void restore_close_network(void *ctx)
{
	struct restore *rs = ctx;
	struct err err = ERR_INIT;
	struct journal *journal;

	if (!rs->flows.n || rs->lock.method == NETLOCK_SKIP)
		return;
	if (image_set_journal(rs->images, &journal, &err) < 0 ||
		netlock_make(&rs->lock, rs->flows.at, rs->flows.n, journal,
			"keeps connections quiet until the restore", &err) < 0)
		log_warn("%s; a peer may see that its connection ends", err.text);
}
