/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What descriptors of every family have: an owner of signals and status flags (fcntl(2)); and the
 * owner of what has no name, pipes and sockets.
 */
#pragma once
#include "kinds/kind.h"

/* F_GETOWN_EX, F_GETSIG and the owner's ids; zeros where nothing is set. */
FownEntry *fown_collect(const struct fd_look *l);
/* Flags of the description as images hold them: without close-on-exec and O_TMPFILE. */
uint32_t flags_collect(const struct fd_look *l);

/*
 * Owner and permissions of the pipe or socket itself, in torpor-files, where they are not root's and
 * `usual`: opening it again by /proc/PID/fd/N asks for them (/dev/stdout does that), and firewalls and
 * SO_REUSEPORT groups look at who made a socket.
 */
void nameless_owner_collect(const struct fd_look *l, uint32_t file_id, mode_t usual);

int fown_restore(int fd, const FownEntry *fown, struct err *err) must_use;
/* What nameless_owner_collect() noted, if anything. */
int nameless_owner_restore(struct file_maker *m, uint32_t file_id, int fd, struct err *err) must_use;
/* Sets what F_SETFL can set: O_APPEND, O_ASYNC, O_DIRECT, O_NOATIME, O_NONBLOCK. */
int flags_restore(int fd, uint32_t flags, struct err *err) must_use;
