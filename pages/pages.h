/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The road of memory pages. A run is a range of pages with the same fate, a batch is a set of
 * runs with their bytes, owned by exactly one stage at a time. Format on disk: pagemap-*.img says
 * what is there, pages-N.img holds the bytes in the order of its entries.
 */
#pragma once
#include "base/err.h"
#include "image/image.h"
#include <stddef.h>
#include <stdint.h>

enum { PAGE = 4096 };

enum run_flags {
	RUN_PARENT = 1, /* the bytes are in the parent image */
	RUN_LAZY = 2, /* may be brought later */
	RUN_PRESENT = 4, /* the bytes are in the pages file */
};

struct run {
	uint64_t vaddr; /* or offset in a shared object */
	uint64_t pages;
	uint32_t flags;
	uint64_t offset; /* in the pages file, bytes; only with RUN_PRESENT */
};

/* The pagemap of one task or shared object, in ascending order without overlaps. */
struct pagemap {
	uint32_t pages_id;
	struct run *runs;
	size_t n;
};

/*
 * Pages on their way: runs with RUN_PRESENT, in ascending order, and their bytes one after the
 * other. Whoever holds it may change it; a feed fills it, then it is the sink's until put()
 * returns.
 */
struct batch {
	uint8_t *bytes; /* room for BATCH_BYTES */
	size_t len;
	struct run *runs; /* room for BATCH_RUNS; `offset` is not used */
	size_t n_runs;
};

enum { BATCH_BYTES = 1024 * 1024, BATCH_RUNS = BATCH_BYTES / PAGE };

/* Where pages come from (feed_*.c). A batch may come out empty before the end is reached. */
struct page_feed {
	/* 1: the batch was filled anew; 0: the end. */
	int (*next)(struct page_feed *s, struct batch *b, struct err *err);
};

/* Where they go to (sink_*.c). May be called from another thread, but from one at a time. */
struct page_sink {
	int (*put)(struct page_sink *s, const struct batch *b, struct err *err);
};

/* Statistics of a dump, in pages. */
struct page_stats {
	uint64_t scanned, written, skipped_parent, lazy;
	uint64_t shared_scanned, shared_written;
	uint64_t memdump_us, memwrite_us;
};

/*
 * Loads pagemap-ID.img (type IMG_PAGEMAP) or pagemap-shmem-ID.img; checks order, alignment,
 * overlaps and that the pages file is long enough. No image: an empty map, pages_id 0.
 */
int pagemap_load(struct image_set *set, enum image_id type, unsigned long id, struct arena *a,
	struct pagemap *ret, struct err *err) must_use;

/*
 * Moves everything from feed to sink. What is more than one batch is written by a thread of its
 * own while the next batch is read; the thread has ended when this returns. Counts memdump_us
 * (reading) and memwrite_us (writing).
 */
int pages_pump(struct page_feed *feed, struct page_sink *sink, struct page_stats *stats,
	struct err *err) must_use;
