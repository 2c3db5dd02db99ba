/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unix sockets. The room's files:
 *
 *   unix.c        the room: entries, checks, `show`
 *   unix_list.c   dump: all unix sockets of a namespace, indexed
 *   unix_name.c   dump: names and the files they are bound to
 *   unix_queue.c  dump: queues, by peeking
 *   unix_settle.c dump: who is connected to whom, what is outside
 *   unix_plan.c   restore: entries become groups that are made together
 *   unix_make.c   restore: sockets, pairs, listeners
 *   unix_bind.c   restore: names
 *   unix_join.c   restore: queues, connections that wait, half-closed ones
 *
 * Facts of net/unix/af_unix.c everything here rests on:
 * - both ends of a socketpair(2) remember their maker (SO_PEERCRED); by connect(2) the client gets
 *   what the listener noted at listen(2), the accepted socket gets the client;
 * - an accepted socket has the listener's name;
 * - a datagram queue is limited (net.unix.max_dgram_qlen) unless the receiver's peer is the sender;
 * - what waits is charged to the sender's buffer;
 * - a connection nobody has accepted belongs to no descriptor, so bytes in it cannot be seen.
 */
#pragma once
#include "kinds/sock/family.h"
#include <sys/socket.h>

enum { UNIX_ESTABLISHED = 1, UNIX_CLOSE = 7, UNIX_LISTEN = 10 }; /* TCP_* numbers */
enum { UNIX_EXTERN = 1 }; /* uflags: the peer, which is outside */
enum { UNIX_NAME_MAX = 108 };

/* ---- dump ---- */

/* One unix socket of a namespace, of the tree or not. Lives in the world's arena. */
struct unix_seen {
	struct diag_unix d; /* name and icons are copies */
	const uint32_t *icons; /* d.n_icons inodes */
	struct unix_seen *next_named; /* another one with the same name */
	struct unix_seen *clients, *next_client; /* those whose peer this one is */
	struct unix_seen *listener; /* waits to be accepted by it */
	/* of the tree: */
	UnixSkEntry *entry;
	char *who; /* "task 42 (x), descriptor 7" */
	bool queued; /* its queue was saved */
};

/* What settle needs, kept with the list. */
struct unix_space {
	struct sock_ns *ns;
	struct world *world;
	const struct options *options;
	uint32_t *next_id;
	struct unix_space *next; /* of another namespace */
	struct unix_seen **all; /* n_all, in the world's arena */
	size_t n_all;
	unsigned reads; /* how often the kernel was asked */
};

/* The list of the namespace of socket l->dup, read on first use. */
int unix_space_of(const struct fd_look *l, struct unix_space **ret, struct err *err) must_use;
/* A socket that has a descriptor; the list is read again while it or its partners are missing. */
int unix_seen_of(const struct fd_look *l, struct unix_space *s, uint32_t ino,
	struct unix_seen **ret, struct err *err) must_use;
/* Of the list, or NULL. */
struct unix_seen *unix_seen_by_ino(const struct unix_space *s, uint32_t ino);
/* First of those with this name; the others follow by next_named. */
struct unix_seen *unix_seen_by_name(const struct unix_space *s, const void *name, size_t len);

/* Fills name, name_dir, file_perms, deleted and the extra's path. */
int unix_name_collect(const struct fd_look *l, const struct unix_seen *s, UnixSkEntry *e,
	struct err *err) must_use;
/* The room's peek. */
int unix_peek(const struct fd_look *l, FileEntry *fe, struct err *err) must_use;
/* The room's settle. */
int unix_settle(const struct settle *with, struct err *err) must_use;
/* The spaces that were met, for settle; NULL: there are no unix sockets. */
struct unix_space *unix_spaces_met(const struct table *seen);

/* torpor's extra of a unix socket, made when it is not there. */
TorporUnixEntry *unix_want_extra(struct world *w, uint32_t file_id);
const TorporUnixEntry *unix_extra(const struct world *w, uint32_t file_id);

/* ---- restore ---- */

/* One entry of sk-queues for a socket, with what is known of its origin. */
struct unix_packet {
	struct unix_packet *next;
	const struct entry *entry; /* SkPacketEntry and its bytes */
	const TorporPacket *x; /* or NULL */
};

/* One unix socket entry of the images while the tree is being restored. */
struct unix_made {
	const FileEntry *fe;
	const UnixSkEntry *e;
	const TorporUnixEntry *x; /* or NULL */
	const struct task *owner; /* first task that has it in its table, or NULL */
	struct unix_made *peer; /* entry of the peer, or of the listener it waits in; or NULL */
	struct unix_made *clients, *last_client, *next_client; /* those whose peer this one is */
	struct unix_made *next; /* in files.img */
	struct unix_made *partner; /* the other end of its socketpair(2); NULL: nobody has that */
	struct unix_made *ready; /* next one that can connect */
	struct unix_packet *first, *last; /* its queue */
	int fd; /* ours until the store has it, or -1 */
	int other; /* the end which no entry has (peer gone), or -1; closed by join */
	bool made, connected, inherited;
};

/* A name connections come through: a listener of the tree, or one for the restore only. */
struct unix_door {
	struct unix_door *next;
	const UnixSkEntry *e; /* whose name it has */
	int fd; /* -1: of the tree, see `made` */
	struct unix_made *made;
	const TorporMaker *maker; /* who listened last */
};

/* Everything of one restore, in file_maker.made. */
struct unix_plan {
	struct file_maker *m;
	struct unix_made *all;
	struct unix_door *doors;
	struct unix_bound {
		struct unix_bound *next;
		char *path; /* removed again when the restore fails */
		struct stat old; /* the dead socket that was there, st_nlink 0 for none */
	} *bound;
	struct table *used; /* sockets bound to files when it was read last, by inode; or NULL */
	unsigned naps; /* taken because dead ones may still be there */
	int hidden; /* a detached tmpfs for names that are gone; -1 none yet */
};

int unix_plan_of(struct file_maker *m, struct unix_plan **ret, struct err *err) must_use;
struct unix_made *unix_made_by_ino(const struct unix_plan *p, uint32_t ino);
struct unix_made *unix_made_by_id(const struct unix_plan *p, uint32_t file_id);
static inline bool unix_is_extern(const struct unix_made *u)
{
	return u->e->uflags & UNIX_EXTERN;
}
/* Connected to an entry of the images that says the same. */
static inline bool unix_is_mutual(const struct unix_made *u)
{
	return u->peer && u->peer->peer == u;
}
static inline bool unix_is_stream(const struct unix_made *u) /* has connections */
{
	return u->e->type != SOCK_DGRAM;
}
/* "unix socket 1234 ('/run/x')" for messages. */
const char *unix_say(const UnixSkEntry *e, char *buf, size_t size);

/* The room's create, join and clean. */
int unix_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err) must_use;
int unix_join(struct file_maker *m, struct err *err) must_use;
void unix_clean(struct file_maker *m);

/* Binds fd as the entry says, with owner and mode; nothing to do for a nameless one. */
int unix_bind(struct unix_plan *p, int fd, const UnixSkEntry *e, const TorporUnixEntry *x,
	struct err *err) must_use;
/* Binds a socket that is only there to send once; its name is free again when it is closed. */
int unix_bind_sender(struct unix_plan *p, int fd, const void *name, size_t len, struct err *err)
	must_use;
/* Removes files of a failed restore; closes what the plan holds. */
void unix_unbind_all(struct unix_plan *p);

/* Address by which a bound socket of ours can be reached, wherever its file is now. */
struct unix_address {
	int file; /* O_PATH, -1 for abstract names; closed by unix_address_done() */
	size_t len; /* of name */
	uint8_t name[UNIX_NAME_MAX + 1];
};

int unix_address_of(int fd, const UnixSkEntry *e, struct unix_address *ret, struct err *err) must_use;
void unix_address_done(struct unix_address *a);
/* connect(2) by torpor itself. */
int unix_connect(int fd, const struct unix_address *a, struct err *err) must_use;
/* sockaddr_un for the address, of which the file is number `file`; returns its length. */
size_t unix_sockaddr(const struct unix_address *a, int file, void *ret, size_t size);

/*
 * connect(2) of fd to the address by the task that `maker` (or, without it, the guess) names, so
 * that the other side's SO_PEERCRED tells so.
 */
bool unix_same_maker(const TorporMaker *a, const TorporMaker *b);
/* The door of the entry's name, or NULL. */
struct unix_door *unix_find_door(struct unix_plan *p, const UnixSkEntry *e);
/* listen(2) in the same way. */
int unix_listen_as(struct unix_plan *p, const TorporMaker *maker, const struct task *guess, int fd,
	uint32_t backlog, struct err *err) must_use;
int unix_connect_as(struct unix_plan *p, const TorporMaker *maker, const struct task *guess, int fd,
	const struct unix_address *a, struct err *err) must_use;
