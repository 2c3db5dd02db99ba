/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What descriptors of every family have: an owner of signals and status flags (fcntl(2)). */
#pragma once
#include "kinds/kind.h"

/* F_GETOWN_EX, F_GETSIG and the owner's ids; zeros where nothing is set. */
FownEntry *fown_collect(const struct fd_look *l);
/* Flags of the description as images hold them: without close-on-exec and O_TMPFILE. */
uint32_t flags_collect(const struct fd_look *l);

int fown_restore(int fd, const FownEntry *fown, struct err *err) must_use;
/* Sets what F_SETFL can set: O_APPEND, O_ASYNC, O_DIRECT, O_NOATIME, O_NONBLOCK. */
int flags_restore(int fd, uint32_t flags, struct err *err) must_use;
