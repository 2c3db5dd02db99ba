/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What waits in a unix socket: looked at by MSG_PEEK with SO_PEEK_OFF, so nothing is consumed. The
 * options this needs (SO_PEEK_OFF, SO_PASSCRED) are put back as they were, by the guard if torpor
 * is killed.
 *
 * - Datagrams and seqpackets: one entry each, empty ones too (the kernel shows those to one peek
 *   only: net/core/datagram.c marks them).
 * - Streams: the kernel ends a read behind a piece that carries descriptors, but not in front of
 *   it. Where that piece begins is found by a second look with a buffer one byte too short that ends
 *   in memory which cannot be written: pieces are copied whole or not at all, so it ends in front of
 *   the last one. So descriptors come with the same byte again.
 * - Never is more asked for than there is: at the end of a queue the kernel would hand out, and
 *   forget, a pending error.
 */
#include "base/cleanup.h"
#include "base/fault.h"
#include "kinds/sock/guard.h"
#include "kinds/sock/unix.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

enum { RIGHTS_MAX = 253, /* SCM_MAX_FD */
	FIRST_ROOM = 64 * 1024, PACKET_MAX = 256 * 1024 * 1024,
	NOBODY = 65534 /* what the kernel shows for no uid (overflowuid) */ };

struct peeker {
	const struct fd_look *l;
	struct unix_space *space;
	struct unix_seen *s;
	uint32_t id;
	const char *who;
	uint8_t *buf;
	size_t room;
	int old_off, old_cred, old_pidfd;
	size_t n_said; /* packets with something in their extra */
};

struct piece {
	ssize_t len; /* as long as it is, even if more than there was room for */
	int fds[RIGHTS_MAX];
	size_t n_fds;
	bool has_creds, cut;
	struct ucred creds;
	struct sockaddr_un from;
	socklen_t from_len;
};

/* ---- one look ---- */

static void close_all(int *fds, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		close(fds[i]);
	*n = 0;
}

static void take_control(struct msghdr *msg, struct piece *p)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS && len <= sizeof(p->fds)) {
			memcpy(p->fds, CMSG_DATA(c), len);
			p->n_fds = len / sizeof(int);
		} else if (c->cmsg_type == SCM_CREDENTIALS && len >= sizeof(p->creds)) {
			memcpy(&p->creds, CMSG_DATA(c), sizeof(p->creds));
			p->has_creds = true;
		}
	}
}

/* At an offset; -EAGAIN: there is nothing. */
static int look_at(struct peeker *k, size_t off, size_t want, struct piece *p)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(struct ucred)) +
		CMSG_SPACE(sizeof(p->fds)) + 512];
	struct iovec iov = { k->buf, want };
	struct msghdr msg = { .msg_name = &p->from, .msg_namelen = sizeof(p->from), .msg_iov = &iov,
		.msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	int at = (int)off;

	p->n_fds = 0;
	p->has_creds = false;
	if (setsockopt(k->l->dup, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof(at)) < 0)
		return -errno;
	p->len = recvmsg(k->l->dup, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	if (p->len < 0)
		return -errno;
	p->from_len = msg.msg_namelen;
	p->cut = msg.msg_flags & MSG_CTRUNC;
	take_control(&msg, p);
	return 0;
}

static int room_for(struct peeker *k, size_t len, struct err *err)
{
	uint8_t *more;

	if (len <= k->room)
		return 0;
	if (len > PACKET_MAX)
		return err_unsupported(err, "%s: a packet of %zu bytes waits in the unix socket", k->who,
			len);
	more = realloc(k->buf, len);
	if (!more)
		return err_nomem(err);
	k->buf = more;
	k->room = len;
	return 0;
}

/* ---- saving ---- */

/* The socket a datagram came from, as far as can be known: by its name, or as our only friend. */
static const struct unix_seen *find_sender(const struct peeker *k, const struct piece *p)
{
	size_t len = p->from_len > sizeof(sa_family_t) ? p->from_len - sizeof(sa_family_t) : 0;
	const struct unix_seen *peer = unix_seen_by_ino(k->space, k->s->d.peer), *u;

	if (peer && peer->d.name_len == len && (!len || !memcmp(peer->d.name, p->from.sun_path, len)) &&
		(len || peer->d.peer == k->s->d.ino))
		return peer;
	if (!len) {
		for (u = k->s->clients; u; u = u->next_client)
			if (!u->d.name_len && u->d.wqueue)
				return u;
		return NULL;
	}
	for (u = unix_seen_by_name(k->space, p->from.sun_path, len); u; u = u->next_named)
		if (u->d.type == k->s->d.type && u->d.name_len == len &&
			!memcmp(u->d.name, p->from.sun_path, len))
			return u;
	return NULL;
}

static void say_origin(struct peeker *k, const struct piece *p, TorporPacket *x)
{
	struct arena *a = k->l->world->arena;
	const struct unix_seen *sender = k->s->d.type == SOCK_DGRAM ? find_sender(k, p) : NULL;

	if (sender) {
		x->has_sender = true;
		x->sender = sender->d.ino;
	}
	if (k->s->d.type == SOCK_DGRAM && p->from_len > sizeof(sa_family_t)) {
		x->has_name = true;
		x->name.len = p->from_len - sizeof(sa_family_t);
		x->name.data = arena_memdup(a, p->from.sun_path, x->name.len);
	}
	if (p->has_creds && (p->creds.pid || p->creds.uid != NOBODY)) {
		x->creds = arena_msg(a, TorporMaker, torpor_maker);
		x->creds->pid = (uint32_t)p->creds.pid;
		x->creds->uid = p->creds.uid;
		x->creds->gid = p->creds.gid;
	}
	k->n_said += x->has_sender || x->has_name || x->creds;
}

static int save_rights(struct peeker *k, struct piece *p, SkPacketEntry *e, struct err *err)
{
	struct arena *a = k->l->world->arena;
	ScmEntry *scm = arena_msg(a, ScmEntry, scm_entry);
	size_t n = p->n_fds;
	int r = 0;

	scm->type = SCM_RIGHTS;
	scm->rights = arena_array(a, n, sizeof(*scm->rights));
	for (size_t i = 0; i < n && r == 0; i++) {
		r = file_collect_flying(k->l, take_fd(&p->fds[i]), &scm->rights[i], err);
		scm->n_rights = i + 1;
	}
	for (size_t i = 0; i < n; i++)
		if (p->fds[i] >= 0)
			close(p->fds[i]);
	p->n_fds = 0;
	arena_push(a, e->scm, e->n_scm, scm);
	return r;
}

/* One entry of the bytes in k->buf. */
static int save_piece(struct peeker *k, struct piece *p, size_t len, struct err *err)
{
	struct arena *a = k->l->world->arena;
	SkPacketEntry *e = arena_msg(a, SkPacketEntry, sk_packet_entry);
	TorporUnixEntry *x = unix_want_extra(k->l->world, k->id);
	TorporPacket *packet = arena_msg(a, TorporPacket, torpor_packet);
	struct entry *entry;
	int r = 0;

	e->id_for = k->id;
	e->length = (uint32_t)len;
	say_origin(k, p, packet);
	arena_push(a, x->packets, x->n_packets, packet);
	if (p->n_fds)
		r = save_rights(k, p, e, err);
	if (r < 0)
		return r;
	entry = world_add(k->l->world, IMG_SK_QUEUES, 0, e);
	if (len) {
		entry->payload = arena_memdup(a, k->buf, len);
		entry->payload_len = len;
	}
	return 0;
}

static int cannot_look(const struct peeker *k, int r, struct err *err)
{
	return err_sysn(err, -r, "%s: cannot look into the queue of the unix socket", k->who);
}

/* Descriptors that did not fit into our table. */
static int check_whole(const struct peeker *k, struct piece *p, struct err *err)
{
	if (!p->cut)
		return 0;
	close_all(p->fds, &p->n_fds);
	return err_set(err, ERR_RESOURCE, EMFILE, "%s: descriptors wait in the unix socket, but torpor "
		"may not open that many (RLIMIT_NOFILE)", k->who);
}

static int save_packets(struct peeker *k, struct err *err)
{
	struct piece p;
	size_t off = 0;
	int r;

	for (;;) {
		r = look_at(k, off, k->room, &p);
		if (r == -EAGAIN || (r == 0 && !p.len && !p.has_creds))
			return 0;
		if (r < 0)
			return cannot_look(k, r, err);
		if ((size_t)p.len > k->room) {
			close_all(p.fds, &p.n_fds);
			r = room_for(k, (size_t)p.len, err);
		} else {
			r = check_whole(k, &p, err);
			if (r == 0)
				r = save_piece(k, &p, (size_t)p.len, err);
			off += (size_t)p.len;
		}
		if (r < 0)
			return r;
	}
}

/* How many of the len bytes at off lie in front of the last piece, which ends there. */
static int bytes_before_last(struct peeker *k, size_t off, size_t len, size_t *ret)
{
	/* The first page is never mapped, so writing there fails. */
	struct iovec iov[] = { { k->buf, len - 1 }, { (void *)1, 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	int at = (int)off;
	ssize_t n;

	if (setsockopt(k->l->dup, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof(at)) < 0)
		return -errno;
	n = recvmsg(k->l->dup, &msg, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && errno != EFAULT)
		return -errno;
	*ret = n < 0 ? 0 : (size_t)n;
	return 0;
}

/* A stream's next piece at *off. Everything that is left is asked for: see bytes_before_last(). */
static int save_stream_piece(struct peeker *k, size_t *off, size_t left, struct err *err)
{
	struct piece p;
	size_t len, before = 0;
	int r = look_at(k, *off, left, &p);

	if (r < 0 || !p.len)
		return cannot_look(k, r < 0 ? r : -EIO, err);
	len = (size_t)p.len;
	r = check_whole(k, &p, err);
	if (r == 0 && p.n_fds) {
		r = bytes_before_last(k, *off, len, &before);
		if (r < 0)
			cannot_look(k, r, err);
	}
	if (r < 0 || before)
		close_all(p.fds, &p.n_fds);
	if (r < 0)
		return r;
	len = before ? before : len;
	*off += len;
	return save_piece(k, &p, len, err);
}

static int save_stream(struct peeker *k, struct err *err)
{
	size_t off = 0;
	int total = 0, r = 0;

	if (ioctl(k->l->dup, FIONREAD, &total) < 0)
		return err_sys(err, "%s: cannot ask how much waits in the unix socket", k->who);
	r = room_for(k, (size_t)total, err);
	while (r == 0 && off < (size_t)total)
		r = save_stream_piece(k, &off, (size_t)total - off, err);
	return r;
}

/* ---- before and after ---- */

static int set_number(const struct peeker *k, int option, int value)
{
	return setsockopt(k->l->dup, SOL_SOCKET, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Changes an option; the guard knows what it was. */
static int change(struct peeker *k, int option, int old, int value, struct err *err)
{
	int r = sock_guard_note(k->l->seen, k->l->dup, SOL_SOCKET, option, old, err);

	if (r == 0 && value != old)
		r = set_number(k, option, value);
	return r < 0 && !err_is_set(err) ? cannot_look(k, r, err) : r;
}

static int begin(struct peeker *k, struct err *err)
{
	int fd = k->l->dup, r;

	k->old_off = sock_number(fd, SO_PEEK_OFF, -1);
	k->old_cred = sock_number(fd, SO_PASSCRED, 0);
	k->old_pidfd = sock_number(fd, SO_PASSPIDFD, 0);
	r = change(k, SO_PEEK_OFF, k->old_off, 0, err);
	if (r == 0 && !k->old_cred)
		r = change(k, SO_PASSCRED, 0, 1, err);
	/* A pidfd for every look would only have to be closed again. */
	if (r == 0 && k->old_pidfd)
		r = change(k, SO_PASSPIDFD, k->old_pidfd, 0, err);
	return r < 0 ? r : fault_point("peek", err);
}

static int end(struct peeker *k, int done, struct err *err)
{
	int r = set_number(k, SO_PEEK_OFF, k->old_off);

	if (!k->old_cred && r == 0)
		r = set_number(k, SO_PASSCRED, 0);
	if (k->old_pidfd && r == 0)
		r = set_number(k, SO_PASSPIDFD, k->old_pidfd);
	sock_guard_forget(k->l->seen);
	if (done == 0 && r < 0)
		return err_sysn(err, -r, "%s: cannot put back the options of the unix socket", k->who);
	return done;
}

static int look(struct peeker *k, struct err *err)
{
	int r = begin(k, err);

	if (r == 0)
		r = k->s->d.type == SOCK_STREAM ? save_stream(k, err) : save_packets(k, err);
	return end(k, r, err);
}

/* 1: the queue can be looked at, 0: there is none. */
static int prepare(const struct peeker *k, struct err *err)
{
	struct pollfd p = { .fd = k->l->dup, .events = POLLIN | POLLPRI };
	bool stream = k->s->d.type == SOCK_STREAM;
	TorporUnixEntry *x;

	if (k->s->d.state == UNIX_LISTEN || poll(&p, 1, 0) <= 0)
		return 0;
	if (p.revents & POLLPRI)
		return err_busy(err, "%s is a unix socket in which urgent data wait (MSG_OOB), which "
			"this version cannot save", k->who);
	if (!(p.revents & POLLERR))
		return p.revents & POLLIN ? 1 : 0;
	/* Looking at packets would take the error away (sock_error), at a stream's bytes does not. */
	if (k->s->d.type == SOCK_DGRAM || (!stream && k->s->d.rqueue))
		return err_busy(err, "%s is a unix socket with an error that was not fetched yet; "
			"this version cannot look into its queue", k->who);
	x = unix_want_extra(k->l->world, k->id);
	x->has_reset = x->reset = true;
	return stream;
}

int unix_peek(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	struct peeker k = { .l = l, .id = fe->id };
	char who[96];
	int r = unix_space_of(l, &k.space, err), more;

	if (r < 0)
		return r;
	k.who = file_look_who(l, who, sizeof(who));
	k.s = unix_seen_by_ino(k.space, fe->usk->ino);
	if (!k.s)
		return err_bug(err, "unix socket %u is not in the list", fe->usk->ino);
	more = prepare(&k, err);
	if (more <= 0)
		return more;
	r = room_for(&k, FIRST_ROOM, err);
	if (r == 0)
		r = look(&k, err);
	free(k.buf);
	/* Where nobody could be taken for the sender there is nothing to say. */
	if (r == 0 && !k.n_said && !k.s->clients && !k.s->d.peer && unix_extra(l->world, fe->id))
		unix_want_extra(l->world, fe->id)->n_packets = 0;
	return r;
}
