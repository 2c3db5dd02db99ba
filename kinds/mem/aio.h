/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contexts of asynchronous I/O (io_setup(2)): each is an area of the task, its ring of events. */
#pragma once
#include "kernel/smaps.h"
#include "kinds/mem/build.h"

/* Whether the area is the ring of a context. */
bool aio_is_ring(const struct smaps_area *a);
/*
 * Dump: waits until nothing is in flight any more, as far as that can be seen, and brings the ring's
 * pages where they can be saved. Fills v and adds the context to the mm message.
 */
int aio_look(struct world *w, struct task *t, pid_t tid, const struct smaps_area *a, VmaEntry *v,
	struct err *err) must_use;
/* Restore, after all forks, which do not hand contexts on: makes those of the task. */
int aio_finish(const struct mm_build *b, struct err *err) must_use;
