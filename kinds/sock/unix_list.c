/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All unix sockets of a namespace: read once, found by inode and by name.
 *
 * A list that is longer than one answer of the kernel may lack sockets where others come and go: it
 * remembers how many of a bucket it has told (net/unix/diag.c), and nothing says that one was left
 * out. So when one that must be there is missing, the list is read again and what is new is added.
 */
#include "base/cleanup.h"
#include "kinds/sock/unix.h"
#include <string.h>
#include <sys/socket.h>

enum { BY_INO = 0, BY_NAME = 1, LIST = 2, THE_SPACE = 799 };
/* How often a list is read at most: each time finds nearly all, also among thousands. */
enum { MOST_READS = 6 };

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

static void note_name(struct unix_space *s, struct unix_seen *u)
{
	uint64_t by_name = sock_key(s->ns, BY_NAME, hash_name(u->d.name, u->d.name_len));

	u->next_named = table_get(s->ns->seen, by_name);
	table_put(s->ns->seen, by_name, u);
}

static int note_socket(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct unix_space *s = ctx;
	struct arena *arena = s->world->arena;
	struct diag_unix d;
	struct unix_seen *u;

	if (!diag_parse_unix(payload, len, &d))
		return err_set(err, ERR_KERNEL, 71, "the list of unix sockets is not understood");
	/* of those without inode nobody can tell which were there the first time */
	if (s->reads > 1 && (!d.ino || unix_seen_by_ino(s, d.ino)))
		return 0;
	u = arena_new_of(arena, struct unix_seen);
	u->d = d;
	if (d.name)
		u->d.name = arena_memdup(arena, d.name, d.name_len);
	if (d.n_icons)
		u->icons = arena_memdup(arena, d.icons, d.n_icons * sizeof(*u->icons));
	u->d.icons = NULL;
	arena_push(arena, s->all, s->n_all, u);
	table_put(s->ns->seen, sock_key(s->ns, BY_INO, d.ino), u);
	if (d.name_len)
		note_name(s, u);
	return 0;
}

/* Who is whose client, who waits where. */
static void link_sockets(struct unix_space *s)
{
	for (size_t i = 0; i < s->n_all; i++)
		s->all[i]->clients = s->all[i]->next_client = s->all[i]->listener = NULL;
	for (size_t i = 0; i < s->n_all; i++) {
		struct unix_seen *u = s->all[i], *peer = unix_seen_by_ino(s, u->d.peer);

		if (peer) {
			u->next_client = peer->clients;
			peer->clients = u;
		}
		for (size_t k = 0; k < u->d.n_icons; k++) {
			struct unix_seen *client = unix_seen_by_ino(s, u->icons[k]);

			if (client)
				client->listener = u;
		}
	}
}

static int read_list(const struct fd_look *l, struct unix_space *s, struct err *err)
{
	auto_close int diag = -1;
	int r = sock_ns_diag(l, &diag, err);

	s->reads++;
	if (r == 0)
		r = sock_diag_unix(diag, note_socket, s, err);
	if (r == 0)
		link_sockets(s);
	return r < 0 ? err_while(err, "listing unix sockets") : 0;
}

/* Whether all are known that it is connected to, or who wait for it. */
static bool is_whole(const struct unix_space *s, const struct unix_seen *u)
{
	if (u->d.peer && !unix_seen_by_ino(s, u->d.peer))
		return false;
	for (size_t i = 0; i < u->d.n_icons; i++)
		if (u->icons[i] && !unix_seen_by_ino(s, u->icons[i]))
			return false;
	return true;
}

int unix_seen_of(const struct fd_look *l, struct unix_space *s, uint32_t ino,
	struct unix_seen **ret, struct err *err)
{
	struct unix_seen *u = unix_seen_by_ino(s, ino);

	while ((!u || !is_whole(s, u)) && s->reads < MOST_READS) {
		int r = read_list(l, s, err);

		if (r < 0)
			return r;
		u = unix_seen_by_ino(s, ino);
	}
	*ret = u;
	return 0;
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
			return r;
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
