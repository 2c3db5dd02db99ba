/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The feeds of pages to be saved: another process's memory, a shared object. */
#pragma once
#include "pages/pages.h"
#include <sys/types.h>

/* ---- memory of a process ---- */
struct task_span {
	uint64_t start, end;
	/* RUN_PRESENT, perhaps RUN_LAZY; or RUN_PARENT or RUN_LAZY alone: told, but not read */
	uint32_t flags;
	/*
	 * Every page is mapped by this process alone and its area is readable: process_vm_readv(2)
	 * may be used. It is twice as fast as /proc/PID/mem, but would break the sharing of others.
	 */
	bool exclusive;
	bool drop_zero; /* pages of zeros are left out */
};

struct task_feed {
	struct page_feed base;
	pid_t pid;
	int mem; /* /proc/PID/mem */
	const struct task_span *spans; /* ascending, borrowed */
	size_t n, at;
	uint64_t done; /* bytes of spans[at] that are read */
	/*
	 * The task runs while it is read, so pages may disappear: what cannot be read is left out. To
	 * be set before the first batch.
	 */
	bool runs_on;
	uint64_t skipped, lazy; /* pages that were told, not read: in the parent, left behind */
};

int task_feed_open(struct task_feed *s, pid_t pid, const struct task_span *spans, size_t n,
	struct err *err) must_use;
void task_feed_close(struct task_feed *s);

/* ---- a shared object by a readable descriptor ---- */
struct object_feed {
	struct page_feed base;
	int fd; /* borrowed */
	uint64_t size, at, data_end;
	uint64_t scanned; /* pages that were read */
};

/* Runs of it have offsets in the object; holes and pages of zeros are left out. */
void object_feed_init(struct object_feed *s, int fd, uint64_t size);
