/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What ties unix sockets to each other, when all of them exist and tasks have them. In this order:
 *
 *   flying        sockets which only lie in queues are made
 *   connections   bytes and packets of streams are put back by their peer
 *   early mail    datagrams from others than the peer, as long as everybody accepts from everybody
 *   connect       datagram sockets; each after those that are connected to it
 *   late mail     the other datagrams
 *   waiting       connections that wait to be accepted, in their order
 *   outside       streams whose peer is outside connect by its name
 *   end           ends nobody has close, halves shut down, the remaining options and flags
 *
 * Each step walks all sockets once; descriptors are fetched for each socket and closed again.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kinds/place.h"
#include "kinds/sock/unix.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/un.h>

enum { RIGHTS_MAX = 253, SENDER_ROOM = 64 * 1024 * 1024 };

struct join {
	struct unix_plan *p;
	struct unix_sender {
		struct unix_sender *next;
		int fd;
	} *senders; /* sockets that only send: closed at the end */
};

typedef int each_socket(struct join *j, struct unix_made *u, struct err *err);

static int fd_of(struct join *j, const struct unix_made *u, int *ret, struct err *err)
{
	return file_maker_fd(j->p->m, u->fe->id, ret, err);
}

/* ---- sending ---- */

struct letter {
	struct iovec iov;
	struct msghdr msg;
	int fds[RIGHTS_MAX];
	size_t n_fds;
	struct sockaddr_un to;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * RIGHTS_MAX) +
		CMSG_SPACE(sizeof(struct ucred))];
};

static int add_rights(struct join *j, const SkPacketEntry *e, struct letter *l, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < e->n_scm && r == 0; i++) {
		if (e->scm[i]->type != SCM_RIGHTS)
			return err_image(err, "sk-queues: a packet for file %u has a part of type %u", e->id_for,
				e->scm[i]->type);
		for (size_t k = 0; k < e->scm[i]->n_rights && r == 0; k++) {
			if (l->n_fds == RIGHTS_MAX)
				return err_image(err, "sk-queues: a packet for file %u has more than %d "
					"descriptors", e->id_for, RIGHTS_MAX);
			r = file_maker_fd(j->p->m, e->scm[i]->rights[k], &l->fds[l->n_fds], err);
			l->n_fds += r == 0;
		}
	}
	return r;
}

static void add_control(struct letter *l, int type, const void *data, size_t len)
{
	struct cmsghdr *c = (struct cmsghdr *)(l->control + l->msg.msg_controllen);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	l->msg.msg_control = l->control;
	l->msg.msg_controllen += CMSG_SPACE(len);
}

static ssize_t post(int from, struct letter *l, const TorporMaker *creds)
{
	struct ucred c;
	ssize_t n;

	l->msg.msg_iov = &l->iov;
	l->msg.msg_iovlen = 1;
	l->msg.msg_controllen = 0;
	memset(l->control, 0, sizeof(l->control));
	if (creds) {
		c = (struct ucred){ (pid_t)creds->pid, creds->uid, creds->gid };
		add_control(l, SCM_CREDENTIALS, &c, sizeof(c));
	}
	if (l->n_fds)
		add_control(l, SCM_RIGHTS, l->fds, sizeof(int) * l->n_fds);
	n = sendmsg(from, &l->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

/* A sender that is no more gets its number back for the moment of sending (ESRCH otherwise). */
static ssize_t post_as(struct join *j, int from, struct letter *l, const TorporMaker *creds,
	struct err *err)
{
	struct place place;
	ssize_t n = post(from, l, creds);
	int r;

	if (n != -ESRCH || !creds)
		return n;
	r = place_open(j->p->m, (pid_t)creds->pid, &place, err);
	if (r < 0)
		return r;
	n = post(from, l, place.exact ? creds : NULL);
	r = place_close(&place, err);
	return r < 0 ? r : n;
}

/* One entry; `to` may be NULL. A stream may take it in several pieces, descriptors with the first. */
static int send_packet(struct join *j, int from, const struct unix_address *to,
	const struct unix_packet *q, bool stream, struct err *err)
{
	const SkPacketEntry *e = q->entry->msg;
	const TorporMaker *creds = q->x && q->x->creds && q->x->creds->pid ? q->x->creds : NULL;
	struct letter l = { .iov = { (void *)q->entry->payload, q->entry->payload_len } };
	int r = 0;
	ssize_t n;

	r = add_rights(j, e, &l, err);
	if (to) {
		l.msg.msg_name = &l.to;
		l.msg.msg_namelen = (socklen_t)unix_sockaddr(to, to->file, &l.to, sizeof(l.to));
	}
	for (bool first = true; r == 0 && (first || l.iov.iov_len); first = false) {
		n = post_as(j, from, &l, creds, err);
		if (n == -EAGAIN && !stream && !err_is_set(err))
			r = err_target(err, EAGAIN, "the queue of a unix socket has no room for all its packets; "
				"net.unix.max_dgram_qlen may have been larger where they were saved");
		else if (n < 0 && !err_is_set(err))
			r = err_sysn(err, (int)-n, "cannot put a packet of %zu bytes back into the queue of a "
				"unix socket", l.iov.iov_len);
		else if (n < 0)
			r = (int)n;
		else if (!stream)
			break;
		for (size_t i = 0; i < l.n_fds && r == 0; i++)
			close(l.fds[i]);
		if (r == 0) {
			l.n_fds = 0;
			l.iov.iov_base = (char *)l.iov.iov_base + n;
			l.iov.iov_len -= (size_t)n;
		}
	}
	for (size_t i = 0; i < l.n_fds; i++)
		close(l.fds[i]);
	return r;
}

/* What waits is charged to the sender: room for as long as the queue is being filled. */
static int widen(int fd, const struct unix_packet *q, struct err *err)
{
	uint64_t want = 0;
	uint32_t now = (uint32_t)sock_number(fd, SO_SNDBUF, 0);

	for (; q; q = q->next)
		want += 4 * (q->entry->payload_len + 4096);
	if (want > SENDER_ROOM && want > 4 * now)
		want = want > INT_MAX ? INT_MAX : want;
	return want > now ? sockopts_set_buffer(fd, SO_SNDBUF, (uint32_t)want, err) : 0;
}

static int make_flying(struct join *j, struct unix_made *u, struct err *err)
{
	auto_close int fd = -1;

	return u->made || unix_is_extern(u) ? 0 : fd_of(j, u, &fd, err);
}

static int fill_stream(struct join *j, struct unix_made *u, struct err *err)
{
	auto_close int from = -1;
	int r = 0;

	if (!u->first || !unix_is_stream(u) || !u->connected || u->inherited)
		return 0;
	if (u->other >= 0)
		from = fcntl(u->other, F_DUPFD_CLOEXEC, 0);
	else
		r = fd_of(j, u->peer, &from, err);
	if (r == 0)
		r = widen(from, u->first, err);
	for (const struct unix_packet *q = u->first; q && r == 0; q = q->next)
		r = send_packet(j, from, NULL, q, u->e->type == SOCK_STREAM, err);
	return r;
}

/* ---- datagrams ---- */

/*
 * The socket of the images that sends a datagram; NULL: none of them. Who has no name may be anybody
 * without one. Of images that say nothing of senders (q->x) any will do.
 */
static const struct unix_made *sender_of(const struct join *j, const struct unix_made *u,
	const struct unix_packet *q)
{
	const struct unix_made *c = unix_is_mutual(u) ? u->peer : u->clients;

	if (q->x && q->x->has_sender)
		return unix_made_by_ino(j->p, q->x->sender);
	if (q->x && q->x->has_name)
		return NULL;
	if (!q->x || (c && c == u->peer && !c->e->name.len))
		return c;
	for (c = u->clients; c && c->e->name.len; c = c->next_client)
		continue;
	return c;
}

static bool from_peer(const struct join *j, const struct unix_made *u, const struct unix_packet *q)
{
	const struct unix_made *sender = sender_of(j, u, q);

	return sender && sender == u->peer;
}

/* The first packet from which on all came from the peer. */
static const struct unix_packet *first_late(const struct join *j, const struct unix_made *u)
{
	const struct unix_packet *late = u->first;

	for (const struct unix_packet *q = u->first; q; q = q->next)
		if (!from_peer(j, u, q))
			late = q->next;
	return late;
}

static int new_sender(struct join *j, const TorporPacket *x, int *ret, struct err *err)
{
	struct unix_sender *s = arena_new_of(j->p->m->arena, struct unix_sender);
	int r;

	s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return err_sys(err, "cannot make a unix socket");
	s->next = j->senders;
	j->senders = s;
	r = x && x->has_name ? unix_bind_sender(j->p, s->fd, x->name.data, x->name.len, err) : 0;
	*ret = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	return r;
}

/* The socket a datagram comes from: the one that sent it, any client, or one made for it. */
static int open_sender(struct join *j, const struct unix_made *u, const struct unix_packet *q,
	int *ret, struct err *err)
{
	const struct unix_made *s = sender_of(j, u, q);

	if (s && !unix_is_extern(s) && !s->inherited)
		return fd_of(j, s, ret, err);
	if (u->other >= 0) {
		*ret = fcntl(u->other, F_DUPFD_CLOEXEC, 0);
		return 0;
	}
	return new_sender(j, q->x, ret, err);
}

static bool same_sender(const struct unix_packet *a, const struct unix_packet *b)
{
	const TorporPacket *x = a->x, *y = b->x;

	if (!x || !y)
		return !x && !y;
	return x->has_sender == y->has_sender && x->sender == y->sender && x->name.len == y->name.len &&
		(!x->name.len || !memcmp(x->name.data, y->name.data, x->name.len));
}

/* Packets from q up to end (not included); neighbours from one sender share its descriptor. */
static int deliver(struct join *j, struct unix_made *u, const struct unix_packet *q,
	const struct unix_packet *end, struct err *err)
{
	struct unix_address to = { .file = -1 };
	auto_close int fd = -1;
	auto_close int from = -1;
	const struct unix_packet *last = NULL;
	int r;

	if (q == end)
		return 0;
	r = fd_of(j, u, &fd, err);
	if (r == 0)
		r = unix_address_of(fd, u->e, &to, err);
	for (; q != end && r == 0; q = q->next) {
		if (!last || !same_sender(last, q)) {
			cleanup_close(&from);
			from = -1;
			r = open_sender(j, u, q, &from, err);
			if (r == 0)
				r = widen(from, q, err);
		}
		if (r == 0)
			r = send_packet(j, from, to.len ? &to : NULL, q, false, err);
		last = q;
	}
	unix_address_done(&to);
	return r;
}

static bool gets_mail(const struct unix_made *u)
{
	return !unix_is_stream(u) && !unix_is_extern(u) && !u->inherited && u->first;
}

static int early_mail(struct join *j, struct unix_made *u, struct err *err)
{
	return gets_mail(u) ? deliver(j, u, u->first, first_late(j, u), err) : 0;
}

static int late_mail(struct join *j, struct unix_made *u, struct err *err)
{
	return gets_mail(u) ? deliver(j, u, first_late(j, u), NULL, err) : 0;
}

/* connect(2) to the name of a peer outside. */
static int connect_out(const struct unix_made *u, int fd, struct err *err)
{
	const UnixSkEntry *peer = u->peer->e;
	struct unix_address a = { .file = -1, .len = peer->name.len };
	char what[160], where[160];
	int r;

	if (!a.len || a.len > sizeof(a.name))
		return err_unsupported(err, "%s was connected to a socket outside (%u) that has no name; "
			"--inherit-fd fd[N]:socket[%u] gives the connection back",
			unix_say(u->e, what, sizeof(what)), peer->ino, u->e->ino);
	memcpy(a.name, peer->name.data, a.len);
	r = unix_connect(fd, &a, err);
	return r < 0 ? err_while(err, "connecting to %s outside", unix_say(peer, where, sizeof(where))) :
		0;
}

/* To a socket of that name which closes at once. */
static int connect_lost(struct join *j, const struct unix_made *u, int fd, struct err *err)
{
	UnixSkEntry e = UNIX_SK_ENTRY__INIT;
	struct unix_address a = { .file = -1 };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	auto_close int peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);
	int r;

	e.name = u->x->lost_name;
	if (peer < 0)
		return err_sys(err, "cannot make a unix socket");
	if (!e.name.len) {
		/* It had none; an abstract name of the kernel's choice is as good as any. */
		if (bind(peer, (struct sockaddr *)&sa, sizeof(sa_family_t)) < 0 ||
			getsockname(peer, (struct sockaddr *)&sa, &len) < 0)
			return err_sys(err, "cannot bind a unix socket");
		e.name.data = (uint8_t *)sa.sun_path;
		e.name.len = len - sizeof(sa_family_t);
	} else {
		r = unix_bind_sender(j->p, peer, e.name.data, e.name.len, err);
		if (r < 0)
			return r;
	}
	r = unix_address_of(peer, &e, &a, err);
	if (r == 0)
		r = unix_connect(fd, &a, err);
	unix_address_done(&a);
	return r;
}

static int connect_dgram(struct join *j, struct unix_made *u, struct err *err)
{
	struct unix_address a = { .file = -1 };
	auto_close int fd = -1;
	auto_close int to = -1;
	int r = fd_of(j, u, &fd, err);

	if (r < 0)
		return r;
	if (u->peer && unix_is_extern(u->peer))
		return connect_out(u, fd, err);
	if (u->peer) {
		r = fd_of(j, u->peer, &to, err);
		if (r == 0)
			r = unix_address_of(to, u->peer->e, &a, err);
		if (r == 0)
			r = unix_connect(fd, &a, err);
		unix_address_done(&a);
		return r;
	}
	if (u->x && u->x->has_lost_peer && u->x->lost_peer)
		return connect_lost(j, u, fd, err);
	return 0;
}

/*
 * Nobody can connect to a socket that is connected elsewhere, so each one's clients come first. A
 * peer that is a client too does not count. Sockets in circles of three or more are never ready.
 */
static int connect_dgrams(struct join *j, struct err *err)
{
	struct unix_made *ready = NULL;
	struct table waits = { 0 };
	size_t left = 0;
	int r = 0;

	for (struct unix_made *u = j->p->all; u; u = u->next) {
		uintptr_t n = 1;

		if (unix_is_stream(u) || unix_is_extern(u) || u->inherited)
			continue;
		for (const struct unix_made *c = u->clients; c; c = c->next_client)
			n += c != u->peer;
		table_put(&waits, u->e->ino, (void *)n);
		left++;
		u->ready = n == 1 ? ready : NULL;
		ready = n == 1 ? u : ready;
	}
	while (ready && r == 0) {
		struct unix_made *u = ready, *peer = u->peer;
		uintptr_t n = peer ? (uintptr_t)table_get(&waits, peer->e->ino) : 0;

		ready = u->ready;
		left--;
		if (!u->connected)
			r = connect_dgram(j, u, err);
		u->connected = true;
		if (n > 1 && peer->peer != u) {
			table_put(&waits, peer->e->ino, (void *)(n - 1));
			if (n == 2) {
				peer->ready = ready;
				ready = peer;
			}
		}
	}
	table_done(&waits);
	if (r == 0 && left)
		return err_image(err, "%zu unix sockets are connected in a circle", left);
	return r;
}

/* ---- connections that wait ---- */

static int wait_at(struct join *j, struct unix_made *l, struct unix_made *client, struct err *err)
{
	struct unix_address a = { .file = -1 };
	auto_close int door = -1;
	auto_close int fd = -1;
	int r = fd_of(j, l, &door, err);

	if (r == 0)
		r = unix_address_of(door, l->e, &a, err);
	if (r == 0)
		r = fd_of(j, client, &fd, err);
	/* What the accepted socket will tell of its client is not known: the task that has it now. */
	if (r == 0)
		r = unix_connect_as(j->p, NULL, client->owner, fd, &a, err);
	unix_address_done(&a);
	client->connected = true;
	return r;
}

/* Connections of other listeners' times came through it: it is to name its own maker again. */
static int listen_again(struct join *j, const struct unix_made *l, struct err *err)
{
	struct unix_door *d = unix_find_door(j->p, l->e);
	const TorporMaker *maker = l->x ? l->x->peer : NULL;
	auto_close int fd = -1;
	int r;

	if (!d || d->made != l || !maker || unix_same_maker(d->maker, maker))
		return 0;
	r = fd_of(j, l, &fd, err);
	return r < 0 ? r : unix_listen_as(j->p, maker, l->owner, fd, l->e->backlog, err);
}

static int wait_in(struct join *j, struct unix_made *l, struct err *err)
{
	int r = 0;

	if (l->e->state != UNIX_LISTEN || unix_is_extern(l) || l->inherited)
		return 0;
	r = listen_again(j, l, err);
	for (size_t i = 0; l->x && i < l->x->n_pending && r == 0; i++) {
		struct unix_made *c = unix_made_by_ino(j->p, l->x->pending[i]);

		if (!c || c->peer != l || c->connected)
			return err_image(err, "unix socket %u does not wait in listener %u",
				l->x->pending[i], l->e->ino);
		r = wait_at(j, l, c, err);
	}
	/* Other tools do not tell the order. */
	for (struct unix_made *c = l->clients; c && r == 0; c = c->next_client)
		if (!c->connected)
			r = wait_at(j, l, c, err);
	return r;
}

static int connect_outside(struct join *j, struct unix_made *u, struct err *err)
{
	auto_close int fd = -1;
	int r;

	if (!unix_is_stream(u) || !u->peer || !unix_is_extern(u->peer) || u->inherited)
		return 0;
	r = fd_of(j, u, &fd, err);
	/* finish() sets the flags; nobody waits here for room in a queue outside. */
	if (r == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		r = err_sys(err, "cannot set the flags of a unix socket");
	return r < 0 ? r : connect_out(u, fd, err);
}

/* ---- end ---- */

/* With a byte unread the end that goes leaves an error behind. */
static int close_other(struct unix_made *u, int fd, struct err *err)
{
	bool reset = u->x && u->x->has_reset && u->x->reset;

	if (u->other < 0)
		return 0;
	if (reset && send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return err_sys(err, "cannot leave a byte unread");
	close(take_fd(&u->other));
	return 0;
}

static int finish(struct join *j, struct unix_made *u, struct err *err)
{
	static const int how[] = { 0, SHUT_RD, SHUT_WR, SHUT_RDWR };
	auto_close int fd = -1;
	int r;

	if (unix_is_extern(u) || u->inherited)
		return 0;
	r = fd_of(j, u, &fd, err);
	if (r == 0)
		r = close_other(u, fd, err);
	if (r == 0 && u->e->has_shutdown && u->e->shutdown && shutdown(fd, how[u->e->shutdown]) < 0 &&
		errno != ENOTCONN)
		r = err_sys(err, "cannot shut a unix socket down");
	if (r == 0)
		r = sockopts_late(j->p->m, u->fe->id, fd, u->e->opts, err);
	if (r == 0)
		r = fown_restore(fd, u->e->fown, err);
	return r < 0 ? r : flags_restore(fd, u->e->flags, err);
}

static int each(struct join *j, each_socket *fn, struct err *err)
{
	char what[160];
	int r = 0;

	for (struct unix_made *u = j->p->all; u && r == 0; u = u->next) {
		r = fn(j, u, err);
		if (r < 0)
			err_while(err, "restoring %s", unix_say(u->e, what, sizeof(what)));
	}
	return r;
}

int unix_join(struct file_maker *m, struct err *err)
{
	struct join j = { 0 };
	int r = unix_plan_of(m, &j.p, err);

	if (r == 0)
		r = each(&j, make_flying, err);
	if (r == 0)
		r = each(&j, fill_stream, err);
	if (r == 0)
		r = each(&j, early_mail, err);
	if (r == 0)
		r = connect_dgrams(&j, err);
	if (r == 0)
		r = each(&j, late_mail, err);
	if (r == 0)
		r = each(&j, wait_in, err);
	if (r == 0)
		r = each(&j, connect_outside, err);
	if (r == 0)
		r = each(&j, finish, err);
	for (struct unix_sender *s = j.senders; s; s = s->next)
		close(s->fd);
	return r;
}
