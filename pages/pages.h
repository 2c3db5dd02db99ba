/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The road of memory pages: feed -> filters -> sink, and source -> filters -> task on the way back.
 *
 * A run is a range of pages with the same fate, a batch is a set of runs with their bytes, owned by
 * exactly one stage at a time. Format on disk: pagemap-*.img says what is there, pages-N.img holds
 * the bytes in the order of its entries. Offsets of runs and segments always count these bytes.
 *
 * Filtered (docs/FORMAT-filters.md, include/torpor/page_filter.h): the same bytes are cut into
 * extents, each of which went through the filters of the set by itself; the pages file then holds
 * the encoded extents one after the other, and the pagemap tells for each how many pages it has,
 * how many bytes it takes and which filters were applied. So nothing but the place of the bytes
 * changes, and whoever handles runs need not know:
 *
 *   feeds     know nothing of filters
 *   the pump  encodes batches for a sink that has a chain, before it hands them over
 *   sinks     with a chain store b->extents and their bytes (batch_extent()), others b->bytes
 *   sources   are read by page_source_read() or _view(), which decode where that is needed; a layer
 *             with `filtered` has no plain pages in its file: nobody may preadv from it
 *   dedup     may free the bytes of an extent when all of its pages are replaced, not before
 *   servers   send batches as they are: runs, extents, stored bytes; they need no key
 */
#pragma once
#include "base/err.h"
#include "image/image.h"
#include <stddef.h>
#include <stdint.h>
#include <torpor/page_filter.h>

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

/* Bytes it has in a pages file. */
static inline uint64_t run_bytes(const struct run *run)
{
	return run->flags & RUN_PRESENT ? run->pages * PAGE : 0;
}

/* Pages that went through the filters together, in the order of the runs. */
struct extent {
	uint64_t offset; /* of its first page, as in struct run */
	uint64_t address; /* of its first page */
	uint64_t at; /* where its bytes begin in the pages file (in a batch: in `stored`) */
	uint32_t length; /* bytes of its pages */
	uint32_t bytes; /* how many it takes */
	uint32_t applied; /* bit i: filter i of the chain; 0: plain pages */
};

/* The pagemap of one task or shared object, in ascending order without overlaps. */
struct pagemap {
	uint32_t pages_id;
	struct run *runs;
	size_t n;
	/* Filtered: extents in ascending order without gaps, all pages of all runs with RUN_PRESENT. */
	bool filtered;
	uint32_t object; /* its number, for serials */
	struct extent *extents;
	size_t n_extents;
};

/*
 * Pages on their way: runs in ascending order, and the bytes of those with RUN_PRESENT one after the
 * other (a run that is only RUN_PARENT or RUN_LAZY has none, and any number of pages).
 * Whoever holds it may change it; a feed fills it, then it is the sink's until put() returns.
 */
struct batch {
	uint8_t *bytes; /* room for BATCH_BYTES */
	size_t len;
	struct run *runs; /* room for BATCH_RUNS; `offset` is not used */
	size_t n_runs;
	/*
	 * The encoded form of all of `bytes`, made by the pump for sinks with a chain. `offset` counts
	 * from the start of `bytes`, `at` from that of `stored`; batch_extent() finds the bytes.
	 */
	struct extent *extents;
	size_t n_extents;
	uint8_t *stored;
};

/* The bytes to be stored for an extent of the batch. */
static inline const uint8_t *batch_extent(const struct batch *b, const struct extent *x)
{
	return x->applied ? b->stored + x->at : b->bytes + x->offset;
}

enum {
	BATCH_BYTES = 1024 * 1024,
	BATCH_PAGES = BATCH_BYTES / PAGE,
	BATCH_RUNS = 2 * BATCH_PAGES,
	EXTENT_BYTES = 128 * 1024, /* the last one of a batch may be shorter */
};

/* Where pages come from (feed_*.c). A batch may come out empty before the end is reached. */
struct page_feed {
	/* 1: the batch was filled anew; 0: the end. */
	int (*next)(struct page_feed *s, struct batch *b, struct err *err);
};

struct filter_chain;

/* Where they go to (sink_*.c). May be called from another thread, but from one at a time. */
struct page_sink {
	int (*put)(struct page_sink *s, const struct batch *b, struct err *err);
	struct filter_chain *chain; /* NULL: batches stay plain */
	/* What all extents of the sink have in common: dump, kind, object, generation. */
	struct torpor_extent common;
	uint64_t serials; /* serial of the next extent; the upper half is the object's number */
};

/* Statistics of a dump, in pages. */
struct page_stats {
	uint64_t scanned, written, skipped_parent, lazy;
	uint64_t shared_scanned, shared_written, shared_skipped_parent;
	uint64_t memdump_us, memwrite_us;
};

/*
 * Loads pagemap-ID.img (type IMG_PAGEMAP) or pagemap-shmem-ID.img; checks order, alignment,
 * overlaps and that the pages file is long enough. No image: an empty map, pages_id 0.
 */
int pagemap_load(struct image_set *set, enum image_id type, unsigned long id, struct arena *a,
	struct pagemap *ret, struct err *err) must_use;
/*
 * The same, also when the pages are at a page server: then there is "torpor-pagemap-ID" instead, or,
 * with filters, just no pages file.
 */
int pagemap_load_told(struct image_set *set, enum image_id type, unsigned long id,
	struct arena *a, struct pagemap *ret, struct err *err) must_use;

/*
 * Moves everything from feed to sink. What is more than one batch is written by a thread of its
 * own while the next batch is read; the thread has ended when this returns. Counts memdump_us
 * (reading) and memwrite_us (writing).
 */
int pages_pump(struct page_feed *feed, struct page_sink *sink, struct page_stats *stats,
	struct err *err) must_use;
