// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Restore: what an earlier life of the tree has left in the kernel. A process that ends leaves its
 * connections to the kernel, which goes on to close them (TIME_WAIT lasts a minute); until then their
 * ends and ports are taken. Where these are what the images hold and nobody has a descriptor of them
 * they make room for the restored ones. The network is locked: no peer is told.
 */
#include "base/cleanup.h"
#include "kernel/sock_diag.h"
#include "kernel/tcp_repair.h"
#include "kinds/sock/inet.h"
#include "kinds/sock/tcp.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

enum { PORTS = 65536 };

/* What is looked for, and what was found. */
struct sweep {
	struct table flows; /* flow_key() of saved connections */
	bool listens[PORTS];
	struct inet_diag_msg *found;
	size_t n;
	struct arena *arena;
};

static uint64_t flow_key(const struct flow *f)
{
	uint64_t words[4] = { 0 }, key = table_key(f->our_port, f->their_port);

	memcpy(words, f->ours, sizeof(f->ours));
	memcpy(words + 2, f->theirs, sizeof(f->theirs));
	for (size_t i = 0; i < 4; i++)
		key = table_key(key, words[i]);
	return key;
}

/* Closing, and nobody can have a descriptor: those who wait in a listener's queue have no inode either. */
static bool is_leftover(const struct inet_diag_msg *m)
{
	return !m->idiag_inode && (m->idiag_state == TCP_STATE_TIME_WAIT ||
		m->idiag_state == TCP_STATE_FIN_WAIT1 || m->idiag_state == TCP_STATE_FIN_WAIT2 ||
		m->idiag_state == TCP_STATE_CLOSING || m->idiag_state == TCP_STATE_LAST_ACK);
}

/* All bytes that were to be delivered have been. */
static bool only_waits(const struct inet_diag_msg *m)
{
	return m->idiag_state == TCP_STATE_TIME_WAIT || m->idiag_state == TCP_STATE_FIN_WAIT2;
}

static void flow_of(const struct inet_diag_msg *m, struct flow *ret)
{
	union inet_name ours = { 0 }, theirs = { 0 };

	ours.any.sa_family = theirs.any.sa_family = m->idiag_family;
	if (m->idiag_family == AF_INET) {
		ours.v4.sin_port = m->id.idiag_sport;
		theirs.v4.sin_port = m->id.idiag_dport;
		memcpy(&ours.v4.sin_addr, m->id.idiag_src, 4);
		memcpy(&theirs.v4.sin_addr, m->id.idiag_dst, 4);
	} else {
		ours.v6.sin6_port = m->id.idiag_sport;
		theirs.v6.sin6_port = m->id.idiag_dport;
		memcpy(&ours.v6.sin6_addr, m->id.idiag_src, 16);
		memcpy(&theirs.v6.sin6_addr, m->id.idiag_dst, 16);
	}
	inet_flow_between(&ours, &theirs, ret);
}

static int each(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct sweep *s = ctx;
	struct diag_inet d;
	struct flow f;

	(void)err;
	if (!diag_parse_inet(payload, len, &d) || !is_leftover(&d.msg))
		return 0;
	flow_of(&d.msg, &f);
	if (table_get(&s->flows, flow_key(&f)) || (s->listens[f.our_port] && only_waits(&d.msg)))
		arena_push(s->arena, s->found, s->n, d.msg);
	return 0;
}

static void want(struct sweep *s, const struct world *w)
{
	const struct entry_list *list = &w->entries[IMG_FILES];
	struct tcp_flows flows;

	tcp_flows_of(w, &flows);
	vec_each(f, &flows)
		table_put(&s->flows, flow_key(f), s);
	vec_done(&flows);
	for (size_t i = 0; i < list->n; i++) {
		const InetSkEntry *e = ((FileEntry *)list->at[i]->msg)->isk;

		if (e && e->type == SOCK_STREAM && e->state == TCP_STATE_LISTEN && e->src_port < PORTS)
			s->listens[e->src_port] = true;
	}
}

static int sweep(struct sweep *s, struct err *err)
{
	auto_close int diag = -1;
	int r = sock_diag_open(-1, &diag, err);

	if (r == 0)
		r = sock_diag_inet(diag, AF_INET, IPPROTO_TCP, each, s, err);
	if (r == 0)
		r = sock_diag_inet(diag, AF_INET6, IPPROTO_TCP, each, s, err);
	for (size_t i = 0; i < s->n && r >= 0; i++) {
		r = sock_diag_destroy(diag, IPPROTO_TCP, &s->found[i], err);
		/* gone by itself meanwhile */
		if (r == -ENOENT) {
			err_clear(err);
			r = 0;
		}
	}
	return r;
}

int inet_clear_way(struct file_maker *m, struct err *err)
{
	uint64_t key = table_key(table_key(FD_TYPES__INETSK, 3), 0);
	struct sweep *s;
	int r;

	if (table_get(&m->made, key))
		return 0;
	s = arena_new_of(m->arena, struct sweep);
	s->arena = m->arena;
	table_put(&m->made, key, s);
	want(s, m->world);
	r = sweep(s, err);
	table_done(&s->flows);
	return r < 0 ? err_while(err, "looking for what an earlier life of the tree has left") : s->n > 0;
}
