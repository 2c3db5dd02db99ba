/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dump side of descriptors: finds out which descriptors are the same open file description (kcmp,
 * as a search tree within equal inode, flags and offset: n log n), asks the rooms, fills
 * world.files and the tables of the tasks.
 */
#pragma once
#include "kinds/kind.h"

struct file_collector;

struct file_collector *file_collector_new(struct world *w, struct image_set *images,
	const struct options *o);
void file_collector_free(struct file_collector *c);
/* All descriptors of task t (fills t->fds->fds); tid is a live, stopped thread of it. */
int file_collect_table(struct file_collector *c, struct task *t, pid_t tid, struct err *err)
	must_use;
/*
 * A file known by an O_PATH or ordinary descriptor `dup` of ours (exe, cwd, root, mapped file):
 * *ret_id is its entry in world.files; equal (device, inode, link) give equal ids. map_flags is
 * O_RDONLY or O_RDWR for mapped files, O_RDONLY|O_DIRECTORY for directories.
 */
int file_collect_named(struct file_collector *c, const struct task *t, pid_t tid, int dup,
	const char *link, int flags, uint32_t *ret_id, struct err *err) must_use;
/* What the nth file is that epoll descriptor efd of thread tid watches as tfd. */
struct file_watch {
	pid_t tid;
	uint32_t efd, tfd, nth;
	uint32_t sdev; /* kernel's form: major << 20 | minor */
	uint64_t ino;
};

/* A descriptor that was collected: where it was seen first. */
struct file_place {
	const FileEntry *entry;
	pid_t tid;
	int fd;
};

/* -ENOENT: no table has it; another negative errno of kcmp(2). Logarithmic in the descriptors. */
int file_find_watched(const struct file_collector *c, const struct file_watch *w,
	struct file_place *ret) must_use;
/*
 * Once all tasks were seen: saves queues of sockets, collects descriptors that lie in them, refuses
 * what only the whole tree shows (a pipe whose other end is outside).
 */
int file_collect_finish(struct file_collector *c, struct err *err) must_use;
/* The dump has failed: takes back what was made outside of the images (names of files). */
void file_collect_undo(struct file_collector *c);
/* Shared memory objects met so far, with a readable descriptor each; valid until the free. */
const struct shared_list *file_collected_shared(const struct file_collector *c);
struct shared_list *file_collector_shared(struct file_collector *c);
/* What rooms have met, by keys of their own (struct fd_look), and memory that lives as long. */
struct table *file_collector_seen(struct file_collector *c);
struct arena *file_collector_arena(struct file_collector *c);
/* Live TCP connections met so far (kinds/sock/tcp.h); valid until the free. */
struct connection_list;
const struct connection_list *file_collected_connections(const struct file_collector *c);
/* cwd, root, umask -> t->fs. */
int file_collect_fs(struct file_collector *c, struct task *t, pid_t tid, struct err *err) must_use;
