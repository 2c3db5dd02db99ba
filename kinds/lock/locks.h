/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File locks and leases: POSIX locks are owned by a descriptor table; flock, OFD locks and leases by
 * a description. All are seen in fdinfo of the descriptor they were taken by, and taken again by
 * tape in a task that has it.
 */
#pragma once
#include "inject/tape.h"
#include "kinds/kind.h"

/*
 * Notes the locks of one descriptor, each once; text is its fdinfo, file_id its file entry. Refuses
 * every lock without --file-locks.
 */
int locks_collect(struct world *w, const struct options *o, struct table *seen, struct task *t, int fd,
	uint32_t file_id, const char *text, struct err *err) must_use;

/* Locks of unknown kinds, of tasks and descriptors that are not there. */
void locks_check(const struct world *w, struct findings *f);

/* The next lock of one table that is to be taken. */
struct lock_item {
	struct lock_item *next;
	const FileLockEntry *lock;
};

/*
 * The locks of the table, by whichever task that shares it; *ret is NULL if there are none. A saved
 * lock without --file-locks is refused.
 */
int locks_of(struct file_maker *m, const struct fdtable *table, struct lock_item **ret,
	struct err *err) must_use;
/* Appends calls for as many as a tape takes; *at goes on, NULL at the end. */
void locks_tell(struct tape *tape, struct lock_item **at);
