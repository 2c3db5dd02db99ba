/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rooms of descriptors have in common: names, queues. */
#pragma once
#include "kinds/owner.h"

/* ---- dump ---- */
/*
 * The name of the file behind the descriptor as a REG message with this id and flags; saves a
 * ghost if it has no name left.
 */
int name_collect(const struct fd_look *l, uint32_t id, uint32_t flags, RegFileEntry **ret,
	struct err *err) must_use;
/* The same as a file entry of its own (for kinds which refer to a REG entry). */
int name_collect_companion(const struct fd_look *l, uint32_t flags, uint32_t *ret_id,
	struct err *err) must_use;
/*
 * Copies what waits in a pipe without taking it out (tee(2)) and adds it to an image; once per
 * pipe, and only by a readable end. Packets (O_DIRECT, pipe(2)) become one entry each.
 */
int queue_collect(const struct fd_look *l, enum image_id image, uint32_t pipe_id, struct err *err)
	must_use;
struct fdinfo_watch;
/*
 * Where the watched file is: its handle, and the path which leads to it now. Refuses a file that
 * a restore could not find. `what` is "inotify", "fanotify".
 */
int watched_collect(const struct fd_look *l, const struct fdinfo_watch *w, const char *what,
	FhEntry **ret, struct err *err) must_use;
/* The settle of rooms that use it: refuses deleted files which only the watches know. */
int watched_settle(const struct settle *s, struct err *err) must_use;
/* Events that wait in the queue are lost by a restore: says so in the log. */
void watched_report_queue(const struct fd_look *l, const char *what);
/* The mounts, made on the first call; for names/handle.h. */
int look_handles(const struct fd_look *l, struct handle_space **ret, struct err *err) must_use;

/* ---- restore ---- */
/* An O_PATH descriptor of a watched file: by its handle, else among deleted files, else by its path. */
int watched_open(struct file_maker *m, uint32_t dev, uint64_t ino, const FhEntry *fh, int *ret_fd,
	struct err *err) must_use;
int maker_handles(struct file_maker *m, struct handle_space **ret, struct err *err) must_use;
/* Opens the REG entry which another entry refers to. */
int name_open_companion(struct file_maker *m, uint32_t id, int flags, int *ret_fd, struct err *err)
	must_use;
/* A new description of what fd refers to. */
int reopen(int fd, int flags, int *ret_fd, struct err *err) must_use;

/* What waited in one pipe. */
struct queue {
	struct queue_part {
		const struct entry *entry;
		struct queue_part *next;
	} *first, *last;
	size_t n;
	uint32_t size; /* F_SETPIPE_SZ, 0 unknown */
};

/* Adds the entries of the image to queues made by ask(ctx, pipe_id), NULL: not wanted. */
void queue_load(struct file_maker *m, enum image_id image,
	struct queue *(*ask)(void *ctx, uint32_t pipe_id), void *ctx);
/* Sets the size of an empty pipe and puts the bytes back; packets: keep the bounds of entries. */
int queue_fill(int fd, const struct queue *q, bool packets, struct err *err) must_use;
