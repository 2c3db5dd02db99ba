/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System V shared memory, semaphores and message queues (sysvipc(7)). They belong to the IPC
 * namespace, not to a task. The tree lives in torpor's own one, so what counts as its own is:
 * segments that it has attached or made, sets and queues that one of its processes used last.
 *
 * A restore finds them still there, by id and key (they outlive a killed tree), or makes them again
 * with their ids. What exists is left as it is, except a segment that nobody has attached: it gets
 * its saved content back.
 */
#pragma once
#include "inject/tracee.h"
#include "kernel/smaps.h"
#include "kinds/collect.h"
#include "inject/husk.h"

/* ---- dump ---- */
/* Before areas are looked at: the numbers of all segments are taken. */
int sysv_reserve(struct file_collector *c, struct err *err) must_use;
bool sysv_is_area(const struct smaps_area *a);
/* Fills v but for its status; the segment is saved. */
int sysv_look_area(struct file_collector *c, struct world *w, const struct task *t, pid_t tid,
	const struct smaps_area *a, VmaEntry *v, struct err *err) must_use;
/* What the process gives back to semaphores at its end, found out by trying (undo.c). */
int sysv_ask_undo(struct world *w, struct task *t, struct tracee *voice, unsigned patience_s,
	struct err *err) must_use;
/* After all tasks: segments that are not attached, sets and queues. */
int sysv_collect(struct file_collector *c, struct world *w, struct err *err) must_use;

/* ---- restore ---- */
struct sysv_made;
/* Finds or makes all objects, before any task exists. *ret also after a failure. */
int sysv_make(struct world *w, struct image_set *images, struct sysv_made **ret, struct err *err)
	must_use;
/* Segments of the images by id. */
void sysv_index_segments(const struct world *w, struct table *ret);
/* Attaches the segment of an area, after all forks. */
int sysv_attach(const struct table *segments, struct husk *h, const VmaEntry *v, struct err *err)
	must_use;
/* What the process gives back to semaphores at its end. */
int sysv_tell_undo(const struct sysv_made *m, struct husk *h, const struct task *t, struct err *err)
	must_use;
/* All tasks have theirs: segments that were marked for removal are so again. */
int sysv_settle(struct sysv_made *m, struct err *err) must_use;
/* The restore has failed: what was made goes. NULL is fine. */
void sysv_undo(struct sysv_made *m);
void sysv_done(struct sysv_made *m);
