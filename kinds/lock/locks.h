/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File locks: POSIX (owned by a descriptor table), flock and OFD (owned by a description). All are
 * seen in fdinfo of the descriptor they were taken by, and taken again by tape in the task.
 */
#pragma once
#include "inject/tape.h"
#include "kinds/kind.h"

/*
 * Notes the locks of one descriptor, each once; text is its fdinfo, file_id its file entry.
 * Refuses leases, and every lock without --file-locks.
 */
int locks_collect(struct world *w, const struct options *o, struct table *seen, struct task *t, int fd,
	uint32_t file_id, const char *text, struct err *err) must_use;

/* Whether the task has locks to take; a saved lock without --file-locks is refused. */
int locks_wanted(const struct world *w, const struct options *o, const struct task *t, bool *ret,
	struct err *err) must_use;
/*
 * Appends the calls for the locks [*at ...) of task t; *at goes on. The tape is full when *at is
 * not yet the number of locks of the world (IMG_FILE_LOCKS).
 */
int locks_tell(const struct world *w, const struct task *t, struct tape *tape, size_t *at,
	struct err *err) must_use;
