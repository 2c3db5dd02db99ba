/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The world: everything that is known of a tree of tasks, in one struct that a dump fills and a
 * restore reads. The state of an object IS its image message; there is no third representation.
 * Memory pages never pass through here (pages/).
 *
 * Invariants:
 * - all data live in the world's arena and are freed with it;
 * - tasks are in pstree order: depth first, a parent before its children, the root first;
 * - ids of tasks and threads are virtual (as in the images); `real` is what the kernel of this
 *   host calls them and is 0 where the task does not exist (yet);
 * - threads[0] is the leader, also when it is dead (leader_dead) and when the task is a zombie.
 */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/table.h"
#include "image/types.h"
#include "proto/messages.h"
#include <sys/types.h>

enum task_state { TASK_ALIVE = 1, TASK_DEAD = 2, TASK_STOPPED = 3 };

struct task;

struct thread {
	struct task *task;
	pid_t tid, real;
	CoreEntry *core; /* always there; a zombie's has only tc */
	TorporThreadEntry *extra; /* always there in memory, saved if it says something */
};

/* One descriptor table; tasks that share it (CLONE_FILES) point to the same one. */
struct fdtable {
	uint32_t id; /* files_id */
	struct task *owner; /* first task that has it */
	FdinfoEntry **fds;
	size_t n_fds;
};

struct task {
	size_t index; /* position in world.tasks */
	pid_t pid, real, pgid, sid;
	enum task_state state;
	bool leader_dead;
	struct task *parent, *first_child, *last_child, *next_sibling;
	struct thread *threads;
	size_t n_threads;
	/* NULL for zombies: */
	TaskKobjIdsEntry *ids;
	MmEntry *mm;
	FsEntry *fs;
	struct fdtable *fds;
	TorporTaskEntry *extra; /* always there in memory; its repeated fields are made by save */
	/* Dump: starts of the areas that some userfaultfd write-protects, ascending. */
	uint64_t *held;
	size_t n_held;
	bool written_unseen; /* its memory may be written by asynchronous I/O */
};

/* One message of an image that belongs to no single task, with the raw bytes behind it. */
struct entry {
	unsigned long id; /* number in the image file's name, 0 if there is none */
	void *msg; /* the type's C struct; NULL for raw images */
	const void *payload;
	size_t payload_len;
	/* payload lies in the image file and is read or written by its room, not held in memory */
	bool streamed;
};

struct entry_list {
	struct entry **at;
	size_t n;
};

struct world {
	struct arena *arena;
	InventoryEntry *inventory;
	struct task **tasks;
	size_t n_tasks;
	struct task *root;
	struct entry_list entries[IMG_COUNT]; /* IMG_FILES, IMG_PIPES_DATA, IMG_SECCOMP ... */
	struct table files; /* file id -> FileEntry */
	struct table extras; /* file id -> TorporFileEntry, IMG_TORPOR_FILES */
	struct table pids; /* virtual pid -> struct task */
	struct table keyed; /* for world_entry() */
};

#define world_each_task(t, w)                                                                     \
	for (struct task **it_##t = (w)->tasks, *t;                                               \
		it_##t < (w)->tasks + (w)->n_tasks && ((t = *it_##t), 1); it_##t++)
#define task_each_thread(th, t) \
	for (struct thread *th = (t)->threads; th < (t)->threads + (t)->n_threads; th++)
#define task_each_child(c, t) for (struct task *c = (t)->first_child; c; c = c->next_sibling)

struct world *world_new(void);
void world_free(struct world *w);
/*
 * Adds a task with n_threads threads (>= 1) and empty core messages under parent (NULL: the root).
 * Its pid must be new: -EEXIST (an image error) otherwise. tids are set by the caller.
 */
int world_add_task(struct world *w, struct task *parent, pid_t pid, size_t n_threads,
	struct task **ret, struct err *err) must_use;
struct task *world_task(const struct world *w, pid_t pid); /* or NULL */
/* Adds a message to a global image; its payload is empty. Never fails. */
struct entry *world_add(struct world *w, enum image_id image, unsigned long id, void *msg);
/* The first message with this id or NULL: IMG_TTY_INFO (id), IMG_BPFMAP_DATA (map_id). */
const struct entry *world_entry(const struct world *w, enum image_id image, uint32_t key);
/*
 * Adds a FileEntry (IMG_FILES) and indexes it by its id; -EEXIST if the id is taken. Only a tun
 * descriptor shares its id with a file, the device node; world_file() finds the tun.
 */
int world_add_file(struct world *w, FileEntry *fe, struct err *err) must_use;
FileEntry *world_file(const struct world *w, uint32_t id); /* or NULL */
/* What torpor keeps of a file beyond its FileEntry, or NULL. */
const TorporFileEntry *world_extra(const struct world *w, uint32_t file_id);
/* The same to be filled; made when it is not there. */
TorporFileEntry *world_want_extra(struct world *w, uint32_t file_id);
/* A loaded one; -EEXIST (an image error) if the id is taken. */
int world_add_extra(struct world *w, TorporFileEntry *e, struct err *err) must_use;
/* Whether a task has something to run: not a zombie. */
static inline bool task_is_alive(const struct task *t)
{
	return t->state != TASK_DEAD;
}
/* First thread that can run: the leader unless it is dead. NULL for zombies. */
struct thread *task_live_thread(const struct task *t);
const char *task_comm(const struct task *t);
