/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The entries of unix sockets as a restore needs them: who belongs to whom, who has what. */
#include "kinds/sock/unix.h"
#include "options/outside.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PLAN = 0, BY_INO = 1, OWNER = 2 };

static uint64_t key_of(unsigned what, uint64_t number)
{
	return table_key(table_key(FD_TYPES__UNIXSK, what), number);
}

struct unix_made *unix_made_by_ino(const struct unix_plan *p, uint32_t ino)
{
	return ino ? table_get(&p->m->made, key_of(BY_INO, ino)) : NULL;
}

struct unix_made *unix_made_by_id(const struct unix_plan *p, uint32_t file_id)
{
	const FileEntry *fe = world_file(p->m->world, file_id);

	return fe && fe->usk ? unix_made_by_ino(p, fe->usk->ino) : NULL;
}

const char *unix_say(const UnixSkEntry *e, char *buf, size_t size)
{
	size_t n = (size_t)snprintf(buf, size, "unix socket %u%s", e->ino, e->name.len ? " ('" : "");

	for (size_t i = 0; e->name.len && i < e->name.len && n + 3 < size; i++) {
		unsigned char c = e->name.data[i];

		if (c || i == 0)
			buf[n++] = !c ? '@' : c < 32 || c > 126 ? '?' : (char)c;
	}
	if (e->name.len && n + 3 < size)
		memcpy(buf + n, "')", 3);
	return buf;
}

/* The first task with each file in its table; tasks come with parents before children. */
static void note_owners(struct file_maker *m)
{
	world_each_task(t, m->world) {
		if (!task_is_alive(t) || t->fds->owner != t)
			continue;
		for (size_t i = 0; i < t->fds->n_fds; i++)
			if (t->fds->fds[i]->type == FD_TYPES__UNIXSK &&
				!table_get(&m->made, key_of(OWNER, t->fds->fds[i]->id)))
				table_put(&m->made, key_of(OWNER, t->fds->fds[i]->id), t);
	}
}

static int add_made(struct unix_plan *p, const FileEntry *fe, struct unix_made ***last,
	struct err *err)
{
	struct file_maker *m = p->m;
	struct unix_made *u = arena_new_of(m->arena, struct unix_made);
	char key[32];

	*u = (struct unix_made){ .fe = fe, .e = fe->usk, .x = unix_extra(m->world, fe->id), .fd = -1,
		.other = -1, .owner = table_get(&m->made, key_of(OWNER, fe->id)) };
	if (!fe->usk->ino || unix_made_by_ino(p, fe->usk->ino))
		return err_image(err, "unix socket %u stands twice in files.img or has no number",
			fe->usk->ino);
	snprintf(key, sizeof(key), "socket[%u]", fe->usk->ino);
	u->inherited = outside_inherited(m->options, key) >= 0;
	table_put(&m->made, key_of(BY_INO, fe->usk->ino), u);
	**last = u;
	*last = &u->next;
	return 0;
}

static void add_client(struct unix_made *u, struct unix_made *client)
{
	if (u->last_client)
		u->last_client->next_client = client;
	else
		u->clients = client;
	u->last_client = client;
}

static int link_peers(struct unix_plan *p, struct err *err)
{
	char what[160];

	for (struct unix_made *u = p->all; u; u = u->next) {
		u->peer = unix_is_extern(u) ? NULL : unix_made_by_ino(p, u->e->peer);
		if (u->peer)
			add_client(u->peer, u);
		if (u->e->peer && !u->peer && !u->inherited && !unix_is_extern(u))
			return err_image(err, "%s has the peer %u, which is not in files.img",
				unix_say(u->e, what, sizeof(what)), u->e->peer);
	}
	for (struct unix_made *u = p->all; u; u = u->next)
		if (u->peer && unix_is_stream(u) && !unix_is_extern(u->peer) && !u->inherited &&
			u->peer->e->state != UNIX_LISTEN && !unix_is_mutual(u))
			return err_image(err, "%s has the peer %u, whose peer is %u",
				unix_say(u->e, what, sizeof(what)), u->e->peer, u->peer->e->peer);
	return 0;
}

/* The nth packet of a socket has the nth extra, if there are as many. */
static void add_queues(struct unix_plan *p)
{
	const struct entry_list *list = &p->m->world->entries[IMG_SK_QUEUES];
	struct arena *a = p->m->arena;

	for (size_t i = 0; i < list->n; i++) {
		const SkPacketEntry *e = list->at[i]->msg;
		struct unix_made *u = unix_made_by_id(p, e->id_for);
		struct unix_packet *q;

		if (!u)
			continue;
		q = arena_new_of(a, struct unix_packet);
		q->entry = list->at[i];
		if (u->last)
			u->last->next = q;
		else
			u->first = q;
		u->last = q;
	}
	for (struct unix_made *u = p->all; u; u = u->next) {
		size_t n = 0;

		for (struct unix_packet *q = u->first; q && u->x && n < u->x->n_packets; q = q->next)
			q->x = u->x->packets[n++];
	}
}

int unix_plan_of(struct file_maker *m, struct unix_plan **ret, struct err *err)
{
	const struct entry_list *list = &m->world->entries[IMG_FILES];
	struct unix_plan *p = table_get(&m->made, key_of(PLAN, 0));
	struct unix_made **last;
	int r = 0;

	*ret = p;
	if (p)
		return 0;
	p = arena_new_of(m->arena, struct unix_plan);
	*p = (struct unix_plan){ .m = m, .hidden = -1 };
	table_put(&m->made, key_of(PLAN, 0), p);
	note_owners(m);
	last = &p->all;
	for (size_t i = 0; i < list->n && r == 0; i++)
		if (((FileEntry *)list->at[i]->msg)->usk)
			r = add_made(p, list->at[i]->msg, &last, err);
	if (r == 0)
		r = link_peers(p, err);
	if (r < 0)
		return r;
	add_queues(p);
	*ret = p;
	return 0;
}

void unix_clean(struct file_maker *m)
{
	struct unix_plan *p = table_get(&m->made, key_of(PLAN, 0));

	if (!p)
		return;
	for (struct unix_made *u = p->all; u; u = u->next) {
		if (u->fd >= 0)
			close(u->fd);
		if (u->other >= 0)
			close(u->other);
	}
	unix_unbind_all(p);
}
