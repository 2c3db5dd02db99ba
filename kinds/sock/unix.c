/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The room of unix sockets (kinds/sock/unix.h): what an entry says, and whether it can be true. */
#include "kinds/sock/unix.h"
#include "kinds/sock/rooms.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

enum { GROUPS_MAX = 65536 };

/* ---- dump ---- */

TorporUnixEntry *unix_want_extra(struct world *w, uint32_t file_id)
{
	TorporFileEntry *x = world_want_extra(w, file_id);

	if (!x->unix_sk)
		x->unix_sk = arena_msg(w->arena, TorporUnixEntry, torpor_unix_entry);
	return x->unix_sk;
}

const TorporUnixEntry *unix_extra(const struct world *w, uint32_t file_id)
{
	const TorporFileEntry *x = world_extra(w, file_id);

	return x ? x->unix_sk : NULL;
}

static bool unix_match(const struct fd_look *l)
{
	return sock_family(l) == AF_UNIX;
}

static int collect_groups(const struct fd_look *l, TorporMaker *m, struct err *err)
{
	socklen_t len = 0;

	if (getsockopt(l->dup, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0 || errno != ERANGE ||
		len > GROUPS_MAX * sizeof(gid_t))
		return 0;
	m->groups = arena_alloc(l->world->arena, len);
	if (getsockopt(l->dup, SOL_SOCKET, SO_PEERGROUPS, m->groups, &len) < 0)
		return err_sys(err, "cannot read the groups of a unix socket's peer");
	m->n_groups = len / sizeof(gid_t);
	return 0;
}

/* Whom SO_PEERCRED names: nothing as long as nobody is known. */
static int collect_peer(const struct fd_look *l, uint32_t id, struct err *err)
{
	struct ucred c = { 0 };
	socklen_t len = sizeof(c);
	TorporMaker *m;

	if (getsockopt(l->dup, SOL_SOCKET, SO_PEERCRED, &c, &len) < 0 || (!c.pid && c.uid == (uid_t)-1))
		return 0;
	m = arena_msg(l->world->arena, TorporMaker, torpor_maker);
	m->pid = (uint32_t)c.pid;
	m->uid = c.uid;
	m->gid = c.gid;
	unix_want_extra(l->world, id)->peer = m;
	return collect_groups(l, m, err);
}

/* How the list sees it. */
static void fill_state(const struct fd_look *l, const struct unix_space *space,
	const struct unix_seen *s, UnixSkEntry *e)
{
	TorporUnixEntry *x;

	e->ino = s->d.ino;
	e->type = s->d.type;
	e->state = s->d.state;
	e->flags = flags_collect(l);
	e->backlog = s->d.wqueue;
	e->peer = s->listener ? s->listener->d.ino : s->d.peer;
	e->has_ns_id = true;
	e->ns_id = space->ns->id;
	if (s->d.shutdown) {
		e->has_shutdown = true;
		e->shutdown = (SkShutdown)s->d.shutdown;
	}
	if (e->type == SOCK_DGRAM && s->d.has_peer && !s->d.peer) {
		x = unix_want_extra(l->world, e->id);
		x->has_lost_peer = x->lost_peer = true;
	}
}

/* Of a peer that is no more, which still has a name. */
static void collect_lost_name(const struct fd_look *l, const UnixSkEntry *e)
{
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);
	TorporUnixEntry *x;

	if (e->peer || getpeername(l->dup, (struct sockaddr *)&sa, &len) < 0 ||
		len <= sizeof(sa_family_t))
		return;
	x = unix_want_extra(l->world, e->id);
	x->has_lost_name = true;
	x->lost_name.len = len - sizeof(sa_family_t);
	x->lost_name.data = arena_memdup(l->world->arena, sa.sun_path, x->lost_name.len);
}

static int unix_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	UnixSkEntry *e = arena_msg(l->world->arena, UnixSkEntry, unix_sk_entry);
	struct unix_space *space;
	struct unix_seen *s = NULL;
	char who[96];
	int r = unix_space_of(l, &space, err);

	if (r == 0)
		r = unix_seen_of(l, space, (uint32_t)l->st.st_ino, &s, err);
	if (r < 0)
		return r;
	file_look_who(l, who, sizeof(who));
	if (!s)
		return err_set(err, ERR_KERNEL, ENOENT, "%s is a unix socket (socket:[%lu]) which the "
			"kernel does not list", who, (unsigned long)l->st.st_ino);
	e->id = fe->id;
	fill_state(l, space, s, e);
	e->fown = fown_collect(l);
	r = sockopts_collect(l, fe->id, &e->opts, err);
	if (r == 0)
		r = unix_name_collect(l, s, e, err);
	if (r == 0)
		r = collect_peer(l, fe->id, err);
	if (r < 0)
		return r;
	collect_lost_name(l, e);
	s->entry = e;
	s->who = arena_strdup(l->world->arena, who);
	fe->usk = e;
	return 0;
}

/* ---- check ---- */

static bool type_is_known(uint32_t type)
{
	return type == SOCK_STREAM || type == SOCK_DGRAM || type == SOCK_SEQPACKET;
}

static void check_extra(const struct world *w, const FileEntry *fe, const char *what,
	struct findings *f)
{
	const TorporUnixEntry *x = unix_extra(w, fe->id);

	if (!x)
		return;
	if (x->peer && x->peer->n_groups > GROUPS_MAX)
		finding_add(f, "unix-groups", SEV_ERROR, 0, "%s has a peer in %zu groups", what,
			x->peer->n_groups);
	if (x->path && x->path[0] != '/')
		finding_add(f, "unix-path", SEV_ERROR, 0, "%s lies at a relative path", what);
	if (x->lost_name.len > UNIX_NAME_MAX + 1)
		finding_add(f, "unix-name", SEV_ERROR, 0, "%s had a peer with a name of %zu bytes", what,
			x->lost_name.len);
	for (size_t i = 0; i < x->n_packets; i++)
		if (x->packets[i]->name.len > UNIX_NAME_MAX + 1)
			finding_add(f, "unix-sender", SEV_ERROR, 0,
				"%s has a packet from a name of %zu bytes", what, x->packets[i]->name.len);
}

static void unix_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const UnixSkEntry *e = fe->usk;
	char what[64];

	if (!e) {
		finding_add(f, "unix-entry", SEV_ERROR, 0, "file %u is a unix socket that says nothing",
			fe->id);
		return;
	}
	snprintf(what, sizeof(what), "unix socket %u (file %u)", e->ino, fe->id);
	if (!type_is_known(e->type))
		finding_add(f, "unix-type", SEV_ERROR, 0, "%s has type %u", what, e->type);
	if (e->state != UNIX_ESTABLISHED && e->state != UNIX_CLOSE && e->state != UNIX_LISTEN)
		finding_add(f, "unix-state", SEV_ERROR, 0, "%s has state %u", what, e->state);
	if (e->state == UNIX_LISTEN && !e->name.len && !(e->uflags & UNIX_EXTERN))
		finding_add(f, "unix-listener", SEV_ERROR, 0, "%s listens but has no name", what);
	if (e->name.len > UNIX_NAME_MAX + 1)
		finding_add(f, "unix-name", SEV_ERROR, 0, "%s has a name of %zu bytes", what, e->name.len);
	if (e->uflags & ~(uint32_t)UNIX_EXTERN)
		finding_add(f, "unix-flags", SEV_ERROR, 0, "%s has the marks 0x%x, which this version "
			"cannot restore", what, e->uflags);
	if (e->has_shutdown && (e->shutdown < 0 || e->shutdown > 3))
		finding_add(f, "unix-shutdown", SEV_ERROR, 0, "%s is shut down as %d", what, e->shutdown);
	if (e->ino && e->peer == e->ino && e->type != SOCK_DGRAM)
		finding_add(f, "unix-peer", SEV_ERROR, 0, "%s is its own peer", what);
	if (!(e->uflags & UNIX_EXTERN))
		sockopts_check(e->opts, what, f);
	check_extra(w, fe, what, f);
}

/* ---- show ---- */

/* The name, printable: abstract names with '@' in front. */
static void say_name(const UnixSkEntry *e, char *buf, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < e->name.len && n + 2 < size; i++) {
		unsigned char c = e->name.data[i];

		if (!c && i + 1 == e->name.len && i)
			break;
		buf[n++] = !c ? '@' : c < 32 || c > 126 ? '?' : (char)c;
	}
	buf[n] = '\0';
}

static void unix_describe(const FileEntry *fe, char *buf, size_t size)
{
	const UnixSkEntry *e = fe->usk;
	const char *type = e->type == SOCK_STREAM ? "stream" : e->type == SOCK_DGRAM ? "datagram" :
		"seqpacket";
	char name[UNIX_NAME_MAX + 2];

	say_name(e, name, sizeof(name));
	if (e->state == UNIX_LISTEN && !(e->uflags & UNIX_EXTERN))
		snprintf(buf, size, "unix %s socket %u listening at '%s'", type, e->ino, name);
	else
		snprintf(buf, size, "unix %s socket %u%s%s%s peer %u", type, e->ino, *name ? " '" : "",
			name, *name ? "'" : "", e->peer);
}

const struct file_kind file_kind_unix = {
	.name = "unix socket",
	.type = FD_TYPES__UNIXSK,
	.match = unix_match,
	.collect = unix_collect,
	.peek = unix_peek,
	.settle = unix_settle,
	.check = unix_check,
	.create = unix_create,
	.join = unix_join,
	.clean = unix_clean,
	.describe = unix_describe,
};
