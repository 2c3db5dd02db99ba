/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Once every socket of the tree is known: who is connected to whom, and what is outside.
 *
 * Outside is allowed where the user said so: `--external unix[INO]` for a socket of the tree whose
 * peer is outside (the peer gets an entry of its own, marked, with its name); `--ext-unix-sk` for
 * datagram sockets, which connect to their peer's name again, and for clients outside that wait in
 * a listener of the tree, which are lost.
 */
#include "base/log.h"
#include "kinds/sock/guard.h"
#include "kinds/sock/unix.h"
#include "options/outside.h"
#include <sys/socket.h>

static bool allowed(const struct unix_space *s, uint32_t ino)
{
	const struct options *o = s->options;

	return outside_lists(&o->ext_unix_sk, o->given[OPTION_ext_unix_sk], ino);
}

static bool is_external(const struct unix_space *s, uint32_t ino)
{
	char text[32];

	snprintf(text, sizeof(text), "unix[%u]", ino);
	return outside_is_external(s->options, text);
}

/* The peer as an entry that says no more than its name; once per peer. */
static int add_outside(struct unix_space *s, struct unix_seen *peer, struct err *err)
{
	struct arena *a = s->world->arena;
	FileEntry *fe = arena_msg(a, FileEntry, file_entry);
	UnixSkEntry *e = arena_msg(a, UnixSkEntry, unix_sk_entry);

	fe->type = FD_TYPES__UNIXSK;
	fe->id = (*s->next_id)++;
	fe->usk = e;
	e->id = fe->id;
	e->ino = peer->d.ino;
	e->type = SOCK_DGRAM; /* what other writers put, whatever the peer is */
	e->state = UNIX_LISTEN;
	e->uflags = UNIX_EXTERN;
	e->fown = arena_msg(a, FownEntry, fown_entry);
	e->opts = arena_msg(a, SkOptsEntry, sk_opts_entry);
	e->name.len = peer->d.name_len;
	e->name.data = (uint8_t *)peer->d.name;
	peer->entry = e;
	return world_add_file(s->world, fe, err);
}

static int settle_outside(struct unix_space *s, const struct unix_seen *u, struct unix_seen *peer,
	struct err *err)
{
	bool named = peer->d.name_len > 0, dgram = u->d.type == SOCK_DGRAM;

	if (is_external(s, u->d.ino))
		return add_outside(s, peer, err);
	if (dgram && named && (allowed(s, peer->d.ino) || allowed(s, u->d.ino)))
		return add_outside(s, peer, err);
	return err_unsupported(err, "%s is a unix socket (socket:[%u]) connected to one outside of the "
		"tree (socket:[%u]); %s--external unix[%u] leaves it out and --inherit-fd "
		"fd[N]:socket[%u] gives it back at the restore", u->who, u->d.ino, peer->d.ino,
		dgram && named ? "--ext-unix-sk connects it again by its peer's name, " : "", u->d.ino,
		u->d.ino);
}

/*
 * A connection nobody has accepted: only the kernel can see what was written into it, but the
 * sender's buffer tells that something was.
 */
static int settle_pending(struct unix_space *s, const struct unix_seen *u, struct err *err)
{
	if (u->d.wqueue)
		return err_busy(err, "%s is a unix socket (socket:[%u]) which has sent something "
			"over a connection that nobody has accepted yet; that cannot be read, try again "
			"when it is accepted", u->who, u->d.ino);
	if (!u->listener->entry)
		return settle_outside(s, u, u->listener, err);
	return 0;
}

static int settle_listener(struct unix_space *s, const struct unix_seen *u, struct err *err)
{
	TorporUnixEntry *x;

	if (!u->d.n_icons)
		return 0;
	x = unix_want_extra(s->world, u->entry->id);
	for (size_t i = 0; i < u->d.n_icons; i++) {
		const struct unix_seen *client = unix_seen_by_ino(s, u->icons[i]);

		if (!u->icons[i])
			return err_busy(err, "%s is a unix socket (socket:[%u]) with a connection that "
				"its client closed before it was accepted; what it holds cannot be read, try "
				"again when it is accepted", u->who, u->d.ino);
		if (!client || !client->entry) {
			if (!allowed(s, u->icons[i]))
				return err_unsupported(err, "%s is a unix socket (socket:[%u]) in which a "
					"process outside of the tree waits to be accepted (socket:[%u]); "
					"--ext-unix-sk closes that connection", u->who, u->d.ino, u->icons[i]);
			log_warn("a connection from outside that waits in %s is lost", u->who);
			continue;
		}
		arena_push(s->world->arena, x->pending, x->n_pending, u->icons[i]);
	}
	return 0;
}

static int settle_one(struct unix_space *s, struct unix_seen *u, struct err *err)
{
	struct unix_seen *peer = unix_seen_by_ino(s, u->d.peer);
	unsigned strangers = 0;

	if (u->d.state == UNIX_LISTEN)
		return settle_listener(s, u, err);
	if (u->listener)
		return settle_pending(s, u, err);
	if (u->d.peer && !peer)
		return err_set(err, ERR_KERNEL, 71, "%s is a unix socket whose peer (socket:[%u]) the kernel "
			"does not list", u->who, u->d.peer);
	if (peer && !peer->entry)
		return settle_outside(s, u, peer, err);
	for (const struct unix_seen *c = u->d.type == SOCK_DGRAM ? u->clients : NULL; c;
		c = c->next_client)
		strangers += !c->entry;
	if (strangers)
		log_warn("%s: %u sockets outside are connected to it and will have to connect again",
			u->who, strangers);
	return 0;
}

int unix_settle(const struct settle *with, struct err *err)
{
	const struct entry_list *list = &with->world->entries[IMG_FILES];
	size_t n = list->n; /* it grows by the peers outside */

	sock_guard_end(with->seen);
	for (size_t i = 0; i < n; i++) {
		const UnixSkEntry *e = ((FileEntry *)list->at[i]->msg)->usk;
		int r = 0;

		for (struct unix_space *s = e ? unix_spaces_met(with->seen) : NULL; s && r == 0; s = s->next) {
			struct unix_seen *u = unix_seen_by_ino(s, e->ino);

			if (u && u->entry == e)
				r = settle_one(s, u, err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}
