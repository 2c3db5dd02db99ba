/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making unix sockets. What kind of object an entry is decides how it is made:
 *
 *   listening            socket, bind; its maker listens
 *   waits in a listener  socket, bind; connects when everything else is connected (join)
 *   connected, nameless  socketpair(2) by its maker, many at once
 *   connected, one name  through the door of that name: the client's maker connects, torpor accepts
 *   peer gone            as one of the above, the other end is kept until its bytes are read back
 *   datagram             socketpair(2) if it remembers a maker, else socket, bind; connects in join
 *   anything else        socket, bind
 *
 * A maker is who SO_PEERCRED names. Images of other tools do not say; then it is the task that has
 * the peer, or, for pairs, the first one that has either end.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kinds/place.h"
#include "kinds/sock/unix.h"
#include "options/outside.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/un.h>

enum { PAIRS_AT_ONCE = 64 };

/* ---- makers ---- */

struct maker {
	pid_t pid;
	struct maker_ids ids;
};

static struct maker maker_of(const struct unix_plan *p, const TorporMaker *m, const struct task *guess)
{
	const struct task *t = guess ? guess : p->m->world->root;
	const ThreadCoreEntry *core = task_live_thread(t) ? task_live_thread(t)->core->thread_core : NULL;
	const CredsEntry *c = core ? core->creds : NULL;

	if (m)
		return (struct maker){ (pid_t)m->pid, { m->uid, m->gid, m->groups, m->n_groups } };
	if (!c)
		return (struct maker){ .pid = t->pid };
	return (struct maker){ t->pid, { c->euid, c->egid, c->groups, c->n_groups } };
}

bool unix_same_maker(const TorporMaker *a, const TorporMaker *b)
{
	if (!a || !b)
		return a == b;
	return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid && a->n_groups == b->n_groups &&
		(!a->n_groups || !memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)));
}

static int enter(struct unix_plan *p, const struct maker *m, struct place *place, struct err *err)
{
	int r = place_open(p->m, m->pid, place, err);

	if (r == 0 && !place->exact)
		log_warn("a unix socket was connected by process %d, which is not in the tree: SO_PEERCRED "
			"will tell another pid", m->pid);
	return r;
}

/* The calls of the tape were made, but perhaps by somebody with other ids. */
static void warn_ids(const struct tape *t, size_t begin, const struct maker_ids *ids)
{
	if (!place_ids_set(t, begin))
		log_warn("a unix socket cannot be made by uid %u, gid %u (CAP_SETUID, CAP_SETGID would allow "
			"it): SO_PEERCRED will tell others", ids->uid, ids->gid);
}

static int leave(struct place *place, int done, struct err *err)
{
	int r = place_close(place, done < 0 ? NULL : err);

	return done < 0 ? done : r;
}

/* One call with descriptors of ours, as the maker: nr(fds[0], args...). */
static int call_as(struct place *place, const struct maker_ids *ids, const int *fds, size_t n,
	long nr, const struct unix_address *address, int number, struct err *err)
{
	struct tape *t = tape_new();
	struct sockaddr_un sa;
	size_t len, begin;
	int there[2];
	int r = place_send(place, fds, n, there, err);

	if (r == 0) {
		begin = place_ids_begin(t, ids);
		if (address) {
			len = unix_sockaddr(address, n > 1 ? there[1] : -1, &sa, sizeof(sa));
			tape_call(t, "unix", TAPE_MUST, nr, T(there[0]), T_DATA(tape_data(t, &sa, len)), T(len));
		} else {
			tape_call(t, "unix", TAPE_MUST, nr, T(there[0]), T(number));
		}
		place_ids_end(t);
		for (size_t i = 0; i < n; i++)
			tape_call(t, "unix", 0, SYS_close, T(there[i]));
		r = place_play(place, t, err);
		if (r == 0)
			warn_ids(t, begin, ids);
	}
	tape_free(t);
	return r;
}

int unix_connect_as(struct unix_plan *p, const TorporMaker *maker, const struct task *guess, int fd,
	const struct unix_address *a, struct err *err)
{
	struct maker m = maker_of(p, maker, guess);
	int fds[2] = { fd, a->file }, flags = fcntl(fd, F_GETFL);
	struct place place;
	int r;

	/* Nobody must wait here for room in a listener. */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_sys(err, "cannot set the flags of a unix socket");
	r = enter(p, &m, &place, err);
	if (r < 0)
		return r;
	r = leave(&place, call_as(&place, &m.ids, fds, a->file < 0 ? 1 : 2, SYS_connect, a, 0, err), err);
	if (r == 0 && fcntl(fd, F_SETFL, flags) < 0)
		return err_sys(err, "cannot set the flags of a unix socket");
	return r;
}

int unix_listen_as(struct unix_plan *p, const TorporMaker *maker, const struct task *guess, int fd,
	uint32_t backlog, struct err *err)
{
	struct maker m = maker_of(p, maker, guess);
	struct place place;
	int r = enter(p, &m, &place, err);

	if (r < 0)
		return r;
	return leave(&place, call_as(&place, &m.ids, &fd, 1, SYS_listen, NULL, (int)backlog, err), err);
}

/* ---- simple ones ---- */

static int new_socket(const UnixSkEntry *e, int *ret, struct err *err)
{
	int fd = socket(AF_UNIX, (int)e->type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_sys(err, "cannot make a unix socket");
	*ret = fd;
	return 0;
}

/* Options and name of one that exists; `fd` is u's. */
static int dress(struct unix_plan *p, const struct unix_made *u, int fd, struct err *err)
{
	int r = sockopts_early(p->m, u->fe->id, fd, u->e->opts, err);

	return r < 0 ? r : unix_bind(p, fd, u->e, u->x, err);
}

static int make_plain(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	int r = new_socket(u->e, &u->fd, err);

	return r < 0 ? r : dress(p, u, u->fd, err);
}

static int make_listener(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	int r = make_plain(p, u, err);

	return r < 0 ? r : unix_listen_as(p, u->x ? u->x->peer : NULL, u->owner, u->fd, u->e->backlog, err);
}

static int make_inherited(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	char key[32];
	int fd;

	snprintf(key, sizeof(key), "socket[%u]", u->e->ino);
	fd = outside_inherited(p->m->options, key);
	if (sock_number(fd, SO_DOMAIN, -1) != AF_UNIX || sock_number(fd, SO_TYPE, -1) != (int)u->e->type)
		return err_target(err, EINVAL, "--inherit-fd: descriptor %d is no unix socket of the type of "
			"socket[%u]", fd, u->e->ino);
	u->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return u->fd < 0 ? err_sys(err, "cannot duplicate descriptor %d", fd) : 0;
}

/* ---- pairs ---- */

/* Who made the pair of which u is one end. */
static const struct task *pair_guess(const struct unix_made *u)
{
	const struct task *a = u->owner, *b = u->peer ? u->peer->owner : NULL;

	if (!a || !b)
		return a ? a : b;
	return a->index < b->index ? a : b;
}

static const TorporMaker *peer_of(const struct unix_made *u)
{
	return u->x ? u->x->peer : NULL;
}

/* Whether v can be made with u by one tape. */
static bool fits(const struct unix_made *u, const struct unix_made *v)
{
	return u->e->type == v->e->type && unix_same_maker(peer_of(u), peer_of(v)) &&
		(peer_of(u) || pair_guess(u) == pair_guess(v));
}

/* Nameless pairs whose both ends are there and not made. */
static bool is_pair(const struct unix_made *u)
{
	return !u->made && u->e->state == UNIX_ESTABLISHED && unix_is_mutual(u) && !u->e->name.len &&
		!u->peer->e->name.len && !u->inherited && !u->peer->inherited &&
		(unix_is_stream(u) || peer_of(u));
}

/* The first end is us[i], the second its partner's, or kept. */
static int take_pairs(struct place *place, const int *numbers, struct unix_made **us, size_t n,
	struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct unix_made *u = us[i], *v = u->partner;

		r = place_take(place, numbers[2 * i], &u->fd, err);
		if (r == 0)
			r = place_take(place, numbers[2 * i + 1], v ? &v->fd : &u->other, err);
		u->made = true;
		u->connected = !v || u->peer == v;
		if (v) {
			v->made = true;
			v->connected = v->peer == u;
		}
	}
	return r;
}

/* socketpair(2) for each of us and its partner. */
static int pairs_as(struct unix_plan *p, struct unix_made **us, size_t n, struct err *err)
{
	struct maker m = maker_of(p, peer_of(us[0]), pair_guess(us[0]));
	struct tape *t = tape_new();
	size_t at[PAIRS_AT_ONCE], begin;
	int numbers[2 * PAIRS_AT_ONCE];
	struct place place;
	int r = enter(p, &m, &place, err);

	if (r == 0) {
		begin = place_ids_begin(t, &m.ids);
		for (size_t i = 0; i < n; i++) {
			at[i] = tape_room(t, 2 * sizeof(int));
			tape_call(t, "unix", TAPE_MUST, SYS_socketpair, T(AF_UNIX),
				T(us[i]->e->type | SOCK_CLOEXEC), T(0), T_DATA(at[i]));
		}
		place_ids_end(t);
		r = place_play(&place, t, err);
		if (r == 0)
			warn_ids(t, begin, &m.ids);
		for (size_t i = 0; i < n && r == 0; i++)
			memcpy(&numbers[2 * i], tape_at(t, at[i]), 2 * sizeof(int));
		if (r == 0)
			r = take_pairs(&place, numbers, us, n, err);
		tape_reset(t);
		for (size_t i = 0; i < 2 * n && r == 0; i++)
			tape_call(t, "unix", 0, SYS_close, T(numbers[i]));
		if (r == 0)
			r = place_play(&place, t, err);
		r = leave(&place, r, err);
	}
	tape_free(t);
	return r;
}

/* u's pair and the next ones like it. */
static int make_pairs(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	struct unix_made *us[PAIRS_AT_ONCE] = { u };
	size_t n = 1, looked = 0;
	int r;

	for (struct unix_made *v = u->next; v && n < PAIRS_AT_ONCE && looked < 4 * PAIRS_AT_ONCE;
		v = v->next, looked++) {
		bool there = false;

		for (size_t i = 0; i < n; i++)
			there = there || us[i] == v->peer;
		if (!there && v != u->peer && is_pair(v) && fits(u, v))
			us[n++] = v;
	}
	for (size_t i = 0; i < n; i++)
		us[i]->partner = us[i]->peer;
	r = pairs_as(p, us, n, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = dress(p, us[i], us[i]->fd, err);
		if (r == 0)
			r = dress(p, us[i]->peer, us[i]->peer->fd, err);
	}
	return r;
}

/* ---- doors ---- */

static bool same_name(const UnixSkEntry *a, const UnixSkEntry *b)
{
	const char *da = a->name_dir ? a->name_dir : "", *db = b->name_dir ? b->name_dir : "";

	return a->name.len == b->name.len &&
		(!a->name.len || !memcmp(a->name.data, b->name.data, a->name.len)) &&
		a->type == b->type && a->deleted == b->deleted && !strcmp(da, db);
}

static uint64_t door_key(const UnixSkEntry *e)
{
	uint64_t h = 14695981039346656037u ^ e->type ^ (e->deleted ? 64 : 0);

	for (size_t i = 0; i < e->name.len; i++)
		h = (h ^ e->name.data[i]) * 1099511628211u;
	return table_key(table_key(FD_TYPES__UNIXSK, 3), h);
}

/* Every name somebody listens at, once. */
static void find_doors(struct unix_plan *p)
{
	uint64_t done = table_key(table_key(FD_TYPES__UNIXSK, 4), 0);

	if (table_get(&p->m->made, done))
		return;
	table_put(&p->m->made, done, p);
	for (struct unix_made *u = p->all; u; u = u->next) {
		struct unix_door *d;

		if (u->e->state != UNIX_LISTEN || unix_is_extern(u) || u->inherited)
			continue;
		d = arena_new_of(p->m->arena, struct unix_door);
		*d = (struct unix_door){ .next = p->doors, .e = u->e, .fd = -1, .made = u,
			.maker = peer_of(u) };
		p->doors = d;
		table_put(&p->m->made, door_key(u->e), d);
	}
}

struct unix_door *unix_find_door(struct unix_plan *p, const UnixSkEntry *e)
{
	struct unix_door *d;

	find_doors(p);
	d = e->name.len ? table_get(&p->m->made, door_key(e)) : NULL;
	return d && same_name(d->e, e) ? d : NULL;
}

/* For connections whose listener is gone: one that closes when the restore ends. */
static int make_door(struct unix_plan *p, const UnixSkEntry *e, const TorporUnixEntry *x,
	struct unix_door **ret, struct err *err)
{
	struct unix_door *d = arena_new_of(p->m->arena, struct unix_door);
	int r;

	*d = (struct unix_door){ .next = p->doors, .e = e, .fd = -1 };
	p->doors = d;
	table_put(&p->m->made, door_key(e), d);
	r = new_socket(e, &d->fd, err);
	if (r == 0)
		r = unix_bind(p, d->fd, e, x, err);
	if (r == 0 && listen(d->fd, 1) < 0)
		r = err_sys(err, "cannot listen for a unix connection");
	*ret = d;
	return r;
}

/* A descriptor of the door; the caller's. */
static int open_door(struct unix_plan *p, const struct unix_door *d, int *ret, struct err *err)
{
	int fd;

	if (d->made)
		return file_maker_fd(p->m, d->made->fe->id, ret, err);
	fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot duplicate a descriptor");
	*ret = fd;
	return 0;
}

/* The client connects and gets an accepted socket. */
static int through_door(struct unix_plan *p, struct unix_door *d, int client, int *ret_accepted,
	const TorporMaker *of_client, const TorporMaker *of_listener, const struct task *client_task,
	struct err *err)
{
	struct unix_address a = { .file = -1 };
	auto_close int door = -1;
	int r = open_door(p, d, &door, err);

	if (r == 0 && of_listener && !unix_same_maker(of_listener, d->maker)) {
		r = unix_listen_as(p, of_listener, NULL, door, d->made ? d->e->backlog : 1, err);
		d->maker = of_listener;
	}
	if (r == 0)
		r = unix_address_of(door, d->e, &a, err);
	if (r == 0)
		r = unix_connect_as(p, of_client, client_task, client, &a, err);
	unix_address_done(&a);
	if (r < 0)
		return r;
	*ret_accepted = accept4(door, NULL, NULL, SOCK_CLOEXEC);
	if (*ret_accepted < 0)
		return err_sys(err, "cannot accept a unix connection");
	return 0;
}

/* Which of two connected sockets was accepted: the one that has a listener's name. */
static struct unix_made *accepted_of(struct unix_plan *p, struct unix_made *u)
{
	struct unix_made *v = u->peer;

	if (!v)
		return u;
	if (!v->e->name.len || unix_find_door(p, u->e))
		return u;
	return !u->e->name.len || unix_find_door(p, v->e) ? v : u;
}

/* The name of a peer that is gone, for a socket that stands in for it. */
static int bind_lost(struct unix_plan *p, const struct unix_made *u, int fd, struct err *err)
{
	if (!u->x || !u->x->has_lost_name)
		return 0;
	return unix_bind_sender(p, fd, u->x->lost_name.data, u->x->lost_name.len, err);
}

/* A connection of which one end, at least, has a name. */
static int make_named(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	struct unix_made *accepted = accepted_of(p, u), *client = accepted->peer;
	struct unix_door *d = unix_find_door(p, accepted->e);
	int r = 0, end = -1;

	if (!d)
		r = make_door(p, accepted->e, accepted->x, &d, err);
	if (r == 0)
		r = new_socket(accepted->e, &end, err);
	if (r < 0)
		return r;
	*(client ? &client->fd : &accepted->other) = end;
	accepted->made = accepted->connected = true;
	if (client) {
		client->made = client->connected = true;
		r = dress(p, client, end, err);
	} else {
		r = bind_lost(p, accepted, end, err);
	}
	if (r == 0)
		r = through_door(p, d, end, &accepted->fd, peer_of(accepted),
			client ? peer_of(client) : NULL, client ? client->owner : accepted->owner, err);
	/* It has its name from the listener. */
	return r < 0 ? r : sockopts_early(p->m, accepted->fe->id, accepted->fd, accepted->e->opts, err);
}

/* Somebody else has the abstract name by now. */
static bool is_taken(const UnixSkEntry *e)
{
	auto_close int fd = socket(AF_UNIX, (int)e->type | SOCK_CLOEXEC, 0);
	struct unix_address a = { .file = -1, .len = e->name.len };
	struct sockaddr_un sa;
	size_t len;

	if (fd < 0 || e->name.data[0] || a.len > sizeof(a.name))
		return false;
	memcpy(a.name, e->name.data, a.len);
	len = unix_sockaddr(&a, -1, &sa, sizeof(sa));
	return bind(fd, (struct sockaddr *)&sa, (socklen_t)len) < 0 && errno == EADDRINUSE;
}

/* u connected to a name; what was accepted there is gone. */
static int make_client(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	UnixSkEntry *e = arena_msg(p->m->arena, UnixSkEntry, unix_sk_entry);
	struct unix_door *d;
	int r;

	/* As if the name were gone as well: it may be somebody else's by now. */
	e->type = u->e->type;
	e->name = u->x->lost_name;
	d = unix_find_door(p, e);
	e->has_deleted = e->deleted = true;
	if (!d)
		d = unix_find_door(p, e);
	if (!d && is_taken(e)) {
		log_warn("a unix socket was connected to '@%.*s', which is somebody else's name now: its "
			"lost peer will be nameless", (int)e->name.len - 1, (const char *)e->name.data + 1);
		r = pairs_as(p, &u, 1, err);
		return r < 0 ? r : dress(p, u, u->fd, err);
	}
	r = d ? 0 : make_door(p, e, NULL, &d, err);
	if (r == 0)
		r = new_socket(u->e, &u->fd, err);
	if (r == 0)
		r = dress(p, u, u->fd, err);
	u->connected = true;
	return r < 0 ? r : through_door(p, d, u->fd, &u->other, NULL, peer_of(u), u->owner, err);
}

/* The peer is gone: its end lives until join has filled the queue. */
static int make_half(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	int r;

	if (u->e->name.len && unix_find_door(p, u->e))
		return make_named(p, u, err);
	if (u->x && u->x->has_lost_name && u->x->lost_name.len)
		return make_client(p, u, err);
	r = pairs_as(p, &u, 1, err);
	return r < 0 ? r : dress(p, u, u->fd, err);
}

/* ---- datagrams ---- */

/* Who must have been the other end of u's socketpair(2), if that can be known. */
static struct unix_made *partner_of(const struct unix_made *u)
{
	struct unix_made *v = u->peer;

	if (v && !unix_is_extern(v) && !v->inherited &&
		(!v->e->name.len || (unix_is_mutual(u) && peer_of(u))))
		return v;
	/* Nobody can connect to a nameless socket. */
	for (v = u->e->name.len ? NULL : u->clients; v; v = v->next_client)
		if (!v->inherited)
			return v;
	return NULL;
}

/* It was one of a pair but has no peer now, or another one: before anything waits in it. */
static int part(struct unix_made *u, struct err *err)
{
	struct sockaddr sa = { .sa_family = AF_UNSPEC };

	if (connect(u->fd, &sa, sizeof(sa)) < 0)
		return err_sys(err, "cannot disconnect a unix socket");
	return 0;
}

/* One that remembers a maker was made by socketpair(2); what it is connected to may be new. */
static int make_dgram(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	bool lost = u->x && u->x->has_lost_peer && u->x->lost_peer;
	struct unix_made *v = partner_of(u);
	int r;

	if (v && v->made)
		v = NULL;
	if (!v && !peer_of(u))
		return make_plain(p, u, err);
	u->partner = v;
	r = pairs_as(p, &u, 1, err);
	if (r == 0)
		r = dress(p, u, u->fd, err);
	if (r == 0 && v)
		r = dress(p, v, v->fd, err);
	if (r == 0 && v && !v->connected)
		r = part(v, err);
	if (r < 0 || (v ? u->connected : lost))
		return r;
	u->connected = false;
	r = part(u, err);
	if (u->other >= 0)
		close(take_fd(&u->other));
	return r;
}

/* ---- all ---- */

static int make_stream(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	char what[160];

	if (u->e->state == UNIX_LISTEN)
		return make_listener(p, u, err);
	if (u->e->state != UNIX_ESTABLISHED)
		return make_plain(p, u, err);
	if (!u->peer)
		return make_half(p, u, err);
	if (unix_is_extern(u->peer) && !p->m->options->given[OPTION_ext_unix_sk])
		return err_unsupported(err, "%s was connected to a socket outside of the tree; "
			"--inherit-fd fd[N]:socket[%u] gives it back, --ext-unix-sk connects it again by its "
			"peer's name", unix_say(u->e, what, sizeof(what)), u->e->ino);
	if (u->peer->e->state == UNIX_LISTEN)
		return make_plain(p, u, err);
	if (is_pair(u))
		return make_pairs(p, u, err);
	return make_named(p, u, err);
}

static int make(struct unix_plan *p, struct unix_made *u, struct err *err)
{
	char what[160];
	int r;

	if (unix_is_extern(u))
		return err_image(err, "%s is outside of the tree, but a task has it",
			unix_say(u->e, what, sizeof(what)));
	if (u->inherited)
		r = make_inherited(p, u, err);
	else
		r = unix_is_stream(u) ? make_stream(p, u, err) : make_dgram(p, u, err);
	u->made = true;
	return r < 0 ? err_while(err, "making %s", unix_say(u->e, what, sizeof(what))) : 0;
}

int unix_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	struct unix_plan *p;
	struct unix_made *u;
	int r = unix_plan_of(m, &p, err);

	if (r < 0)
		return r;
	u = unix_made_by_id(p, fe->id);
	if (!u || u->fe != fe)
		return err_image(err, "unix socket %u stands twice in files.img", fe->usk->ino);
	if (!u->made)
		r = make(p, u, err);
	if (r == 0 && u->fd < 0)
		return err_bug(err, "unix socket %u is made twice", u->e->ino);
	if (r == 0)
		*ret_fd = take_fd(&u->fd);
	return r;
}
