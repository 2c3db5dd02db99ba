// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The network while connections are saved: locked before the first one is read. A dump that kills
 * leaves it locked, so that no packet finds the sockets gone; the restore unlocks it. One that lets
 * the tasks run on unlocks it before they do.
 */
#include "base/log.h"
#include "dump/ctx.h"
#include "image/journal.h"
#include "kernel/cgroup2.h"
#include "kinds/sock/tcp.h"
#include "kinds/task/task.h"
#include <stdio.h>
#include <sys/syscall.h>

/* Connections that are kept: with --tcp-close there are none. */
static const struct connection_list *kept(const struct dump *d)
{
	static const struct connection_list none;

	return d->o->tcp_close ? &none : file_collected_connections(d->files);
}

static struct tcp_flows flows_of(const struct connection_list *list)
{
	struct tcp_flows flows = { 0 };

	vec_each(c, list)
		vec_push(&flows, c->flow);
	return flows;
}

static bool is_subject(pid_t pid, const void *ctx)
{
	const struct dump *d = ctx;

	return table_get(&d->seen, seen_process(pid));
}

/*
 * Those who run on need no more than their connections locked: who connects meanwhile shall wait
 * in the queue.
 */
static struct nft_group group_of(const struct dump *d)
{
	struct cgroup2 g;

	if (d->o->leave_running || d->o->leave_stopped ||
		!cgroup2_of_task(d->subjects.at[0].pid, &g) || !cgroup2_holds_only(&g, is_subject, d))
		return (struct nft_group){ 0 };
	return (struct nft_group){ .id = g.id, .level = g.level };
}

int dump_lock_network(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	InventoryEntry *inv = d->world->inventory;
	const struct connection_list *list = kept(d);
	struct tcp_flows flows = flows_of(list);
	struct journal *journal = NULL;
	char why[96];
	int r = image_set_journal(d->images, &journal, err);

	if (d->o->tcp_close)
		inv->has_tcp_close = inv->tcp_close = true;
	if (r == 0 && list->n) {
		d->lock.method = netlock_choose(d->o);
		inv->network_lock_method = d->lock.method;
		netlock_table(inv->dump_criu_run_id, 0, d->lock.table);
		d->lock.group = group_of(d);
		snprintf(why, sizeof(why), "keeps %zu connection%s quiet until the restore", list->n,
			list->n == 1 ? "" : "s");
		r = netlock_make(&d->lock, flows.at, flows.n, journal, why, err);
	}
	vec_done(&flows);
	return r;
}

void dump_unlock_network(void *ctx)
{
	struct dump *d = ctx;
	struct tcp_flows flows;
	struct journal *journal;
	struct err err = ERR_INIT;

	if (!d->files || !d->lock.made)
		return;
	flows = flows_of(kept(d));
	if (image_set_journal(d->images, &journal, &err) < 0 ||
		netlock_break(&d->lock, flows.at, flows.n, journal, &err) < 0)
		log_warn("%s; connections stay locked: see 'torpor leftovers'", err.text);
	vec_done(&flows);
}

/* Few threads are in such a call at a time, so their tables are searched from end to end. */
static const FdinfoEntry *descriptor_of(const struct task *t, uint64_t fd)
{
	for (size_t i = 0; i < t->fds->n_fds; i++)
		if (t->fds->fds[i]->fd == (uint32_t)fd)
			return t->fds->fds[i];
	return NULL;
}

static void end_connect(const struct table *connected, struct thread *t)
{
	const FdinfoEntry *fd;
	uint64_t number;

	if (!t->core || !t->task->fds || !regs_call(t->core, SYS_connect, &number))
		return;
	fd = descriptor_of(t->task, number);
	if (fd && table_get(connected, table_key(0, fd->id)))
		regs_end_call(t, 0);
}

/*
 * A thread may still stand in the connect(2) that has made such a connection. It finds the work
 * done and would not if it called again, of a restored one: so its call has ended.
 */
static void end_connects(const struct connection_list *list, struct world *w)
{
	struct table connected = { 0 };

	vec_each(c, list)
		table_put(&connected, table_key(0, c->isk->id), c);
	if (list->n)
		world_each_task (t, w)
			for (size_t i = 0; i < t->n_threads; i++)
				end_connect(&connected, &t->threads[i]);
	table_done(&connected);
}

int dump_connections(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	const struct connection_list *list = kept(d);

	int r = list->n ? tcp_save_all(list, d->world, d->images, err) : 0;

	if (r == 0)
		end_connects(list, d->world);
	return r;
}

void dump_forget_connections(void *ctx)
{
	struct dump *d = ctx;

	if (d->files)
		tcp_forget_all(kept(d), d->images);
}

void dump_silence_connections(struct dump *d)
{
	struct err err = ERR_INIT;

	if (tcp_silence_all(kept(d), &err) < 0)
		log_warn("%s; a peer may see that its connection ends", err.text);
}
