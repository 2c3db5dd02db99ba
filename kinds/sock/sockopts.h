/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SO_* options of a socket of any family (socket(7), net/core/sock.c): those which sk_opts_entry
 * has a field for, and those which it has not, which go to the file's entry in torpor-files.
 *
 * A room calls, in this order: sockopts_collect() at the dump; sockopts_check(); at the restore
 * sockopts_early() on the new socket, before it is bound and connected, then sockopts_late(), when
 * its name, peer and queues are as they were (a filter would eat what is put into a queue, and
 * SO_PASSCRED gives an unbound unix socket a name when it connects).
 */
#pragma once
#include "kinds/kind.h"

enum sockopt_when { SOCKOPT_EARLY, SOCKOPT_LATE };
enum { SOCKOPT_MOST = 2048 }; /* the longest extension header of IPv6 */

/* An option without a field of its own. Rooms may have tables of them for other levels. */
struct sockopt {
	int level, name;
	const char *text; /* "SO_TIMESTAMP" */
	size_t size; /* of its value, at most 8 bytes; 0: it varies, up to SOCKOPT_MOST */
	enum sockopt_when when;
	int64_t usual; /* value of a socket on which nobody set it: not saved */
};

/* For tables: the type of a socket whose message does not tell it; nothing that can be set. */
#define SOCKOPT_TYPE(usual) { SOL_SOCKET, SO_TYPE, "SO_TYPE", 4, SOCKOPT_EARLY, usual }
/* What SOCKOPT_TYPE kept of a file, or `usual`. */
int sockopts_saved_type(const struct world *w, uint32_t file_id, int usual);

/* All SOL_SOCKET options of l->dup, and its owner. A BPF program as filter is refused. */
int sockopts_collect(const struct fd_look *l, uint32_t file_id, SkOptsEntry **ret, struct err *err)
	must_use;
/* Those of a room's table, where the kernel has them and they are not the usual ones. */
int sockopts_collect_more(const struct fd_look *l, uint32_t file_id, const struct sockopt *table,
	size_t n, struct err *err) must_use;

/* `what` names the object in findings: "unix socket 1234". o may be NULL (a finding). */
void sockopts_check(const SkOptsEntry *o, const char *what, struct findings *f);

/* What the socket has already is not set, so that no privilege is needed without need. */
int sockopts_early(struct file_maker *m, uint32_t file_id, int fd, const SkOptsEntry *o,
	struct err *err) must_use;
int sockopts_late(struct file_maker *m, uint32_t file_id, int fd, const SkOptsEntry *o,
	struct err *err) must_use;
/* Those of a room's table; saved ones that are not in the table are left alone. */
int sockopts_restore_more(struct file_maker *m, uint32_t file_id, int fd,
	const struct sockopt *table, size_t n, enum sockopt_when when, struct err *err) must_use;

/* SO_SNDBUF, SO_RCVBUF as getsockopt gives them; beyond the sysctl limits where we may. */
int sockopts_set_buffer(int fd, int option, uint32_t bytes, struct err *err) must_use;
