/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring (kinds/file/uring*.c): a ring with nothing in flight comes back with its memory, its
 * counters, registered files and buffers. Anything else is waited for and then refused by name.
 */
#pragma once
#include "inject/tracee.h"
#include "kinds/kind.h"

enum {
	/* vma_entry.status: memory of a ring; shmid is its inode, from the settling on its file id */
	AREA_URING = 0x4000000,
};

/*
 * Waits until the rings which the process has mapped have nothing in flight, at most until clock_us()
 * is `end`. Completions need its threads to run: these play nothing, again and again.
 */
int uring_wait(const struct task *t, struct tracee *threads, size_t n, uint64_t end,
	unsigned patience_s, struct err *err) must_use;
