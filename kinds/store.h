/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restore side of descriptors: makes every open file description once, in the coordinator, and
 * hands it to the husks that need it. A description is closed here when its last user has it.
 */
#pragma once
#include "inject/husk_queue.h"
#include "kinds/kind.h"

struct file_store;

struct file_store *file_store_new(struct world *w, struct image_set *images,
	const struct options *o);
/* Also cleans temporary names (rooms' clean). */
void file_store_free(struct file_store *s);
/*
 * Descriptor of a file entry, made on first use; borrowed. One which some table wants stays open
 * until the last table has it; any other one (exe, folders) for the next STORE_RECENT calls.
 */
int file_store_get(struct file_store *s, uint32_t id, int *ret_fd, struct err *err) must_use;
/*
 * A descriptor for mmap, open with the access mode of flags; borrowed for the next STORE_RECENT
 * calls.
 */
int file_store_get_for_map(struct file_store *s, uint32_t id, int flags, int *ret_fd,
	struct err *err) must_use;
/*
 * Installs the whole descriptor table of task t in its husk: closes all else but lender_fd. It is
 * done when the queue is settled.
 */
int file_store_install(struct file_store *s, struct husk_queue *q, struct husk *h,
	const struct task *t, struct err *err) must_use;
/* Before the first task exists: how to find the husk of a live task (kinds/place.h). */
void file_store_set_husks(struct file_store *s, struct husk *(*husk_of)(void *ctx,
	const struct task *t), void *ctx);
/* Once all tables are installed, as long as husks can get descriptors: rooms' join. */
int file_store_join(struct file_store *s, struct err *err) must_use;
/* The restore has succeeded: what was made stays. Otherwise file_store_free() removes names. */
void file_store_complete(struct file_store *s);
/* Where the husks' pidfd of torpor lies in the table of task t, -1 if it has not moved. */
int file_store_lender(struct file_maker *m, const struct task *t);
/* Task t has just begun its session: rooms' lead. */
int file_store_lead(struct file_store *s, const struct task *t, struct err *err) must_use;
/* Once all tables are installed: rooms' connect. */
int file_store_connect(struct file_store *s, struct err *err) must_use;
/* Then, for each table, what its task must do for its descriptions (rooms' tell), and locks. */
int file_store_tell(struct file_store *s, struct husk *h, const struct task *t, struct err *err)
	must_use;
/* At the end: rooms' arm. */
int file_store_arm(struct file_store *s, struct err *err) must_use;
/*
 * cwd, root, umask by tape, after the tables (needs privileges: before PHASE_CREDS). Call it once
 * for every live task: with the last one of a table the husk's lender_fd is closed. It is done when
 * the queue is settled.
 */
int file_store_set_fs(struct file_store *s, struct husk_queue *q, struct husk *h,
	const struct task *t, struct err *err) must_use;

enum { STORE_RECENT = 500 };
