/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All unix sockets of a namespace: read once, found by inode and by name. */
#include "base/cleanup.h"
#include "kinds/sock/unix.h"
#include <string.h>
#include <sys/socket.h>

enum { BY_INO = 0, BY_NAME = 1, LIST = 2, THE_SPACE = 799 };

struct seen_list vec_of(struct unix_seen *);

/* While the list is read. */
struct reading {
	struct unix_space *s;
	struct arena *arena;
	struct seen_list all;
};

static uint64_t hash_name(const void *name, size_t len)
{
	const unsigned char *p = name;
	uint64_t h = 14695981039346656037u ^ len;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 1099511628211u;
	return h;
}

struct unix_seen *unix_seen_by_ino(const struct unix_space *s, uint32_t ino)
{
	return ino ? table_get(s->ns->seen, sock_key(s->ns, BY_INO, ino)) : NULL;
}

struct unix_seen *unix_seen_by_name(const struct unix_space *s, const void *name, size_t len)
{
	struct unix_seen *u = len ? table_get(s->ns->seen, sock_key(s->ns, BY_NAME,
		hash_name(name, len))) : NULL;

	while (u && (u->d.name_len != len || memcmp(u->d.name, name, len) != 0))
		u = u->next_named;
	return u;
}

static int note_socket(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct reading *r = ctx;
	struct unix_seen *u = arena_new_of(r->arena, struct unix_seen);
	uint64_t by_name;

	if (!diag_parse_unix(payload, len, &u->d))
		return err_set(err, ERR_KERNEL, 71, "the list of unix sockets is not understood");
	if (u->d.name)
		u->d.name = arena_memdup(r->arena, u->d.name, u->d.name_len);
	if (u->d.n_icons)
		u->icons = arena_memdup(r->arena, u->d.icons, u->d.n_icons * sizeof(*u->icons));
	u->d.icons = NULL;
	vec_push(&r->all, u);
	table_put(r->s->ns->seen, sock_key(r->s->ns, BY_INO, u->d.ino), u);
	if (u->d.name_len) {
		by_name = sock_key(r->s->ns, BY_NAME, hash_name(u->d.name, u->d.name_len));
		u->next_named = table_get(r->s->ns->seen, by_name);
		table_put(r->s->ns->seen, by_name, u);
	}
	return 0;
}

/* Who is whose client, who waits where. */
static void link_sockets(struct reading *r)
{
	vec_each(at, &r->all) {
		struct unix_seen *u = *at, *peer = unix_seen_by_ino(r->s, u->d.peer);

		if (peer) {
			u->next_client = peer->clients;
			peer->clients = u;
		}
		for (size_t i = 0; i < u->d.n_icons; i++) {
			struct unix_seen *client = unix_seen_by_ino(r->s, u->icons[i]);

			if (client)
				client->listener = u;
		}
	}
}

static int read_list(const struct fd_look *l, struct unix_space *s, struct err *err)
{
	struct reading r = { .s = s, .arena = l->world->arena };
	auto_close int diag = -1;
	int e = sock_ns_diag(l, &diag, err);

	if (e == 0)
		e = sock_diag_unix(diag, note_socket, &r, err);
	if (e == 0)
		link_sockets(&r);
	vec_done(&r.all);
	return e;
}

int unix_space_of(const struct fd_look *l, struct unix_space **ret, struct err *err)
{
	struct sock_ns *ns;
	struct unix_space *s;
	int r = sock_ns_of(l, &ns, err);

	if (r < 0)
		return r;
	s = table_get(l->seen, sock_key(ns, LIST, 0));
	if (!s) {
		s = arena_new_of(l->world->arena, struct unix_space);
		*s = (struct unix_space){ .ns = ns, .world = l->world, .options = l->options,
			.next_id = l->next_id, .next = unix_spaces_met(l->seen) };
		r = read_list(l, s, err);
		if (r < 0)
			return err_while(err, "listing unix sockets");
		table_put(l->seen, sock_key(ns, LIST, 0), s);
		table_put(l->seen, table_key(THE_SPACE, 0), s);
	}
	*ret = s;
	return 0;
}

struct unix_space *unix_spaces_met(const struct table *seen)
{
	return table_get(seen, table_key(THE_SPACE, 0));
}
