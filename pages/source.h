/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saved pages as restore sees them: where the bytes of every page lie, parent images included.
 */
#pragma once
#include "base/vec.h"
#include "pages/pages.h"

/* How many directories a chain of parent images may have. */
enum { PAGE_LAYERS_MAX = 64 };

struct extent_reader;

/* One pages file of the chain; layer 0 is that of the set itself. */
struct page_layer {
	int fd; /* -1 if no page comes from it */
	uint64_t len; /* bytes of the file */
	const uint8_t *map; /* NULL before page_source_map() */
	struct extent_reader *filtered; /* how to get at its pages if the file has no plain ones */
};

/* Pages whose bytes lie one after the other in one layer. */
struct page_segment {
	uint64_t vaddr; /* or offset in a shared object */
	uint64_t pages;
	uint64_t offset; /* in the pages file, bytes; as if it were not filtered */
	uint32_t layer;
};

struct page_layers vec_of(struct page_layer);
struct page_segments vec_of(struct page_segment);

struct page_source {
	struct page_layers layers;
	struct page_segments segments; /* in ascending order, without overlaps */
};

/*
 * Finds the pages of a pagemap (as pagemap_load()) through the chain of parents and opens the pages
 * files. A page that is in none of them is an image error. No image: no segments.
 */
int page_source_open(struct image_set *set, enum image_id type, unsigned long id,
	struct page_source *ret, struct err *err) must_use;
/*
 * Copies pages from vaddr on, all of them in the segment, to buf; decodes what is filtered. Fails
 * when they cannot be read or are not what was saved.
 */
int page_source_read(struct page_source *s, const struct page_segment *seg, uint64_t vaddr,
	uint64_t pages, void *buf, struct err *err) must_use;
/* Maps the pages files for page_source_bytes(). */
int page_source_map(struct page_source *s, struct err *err) must_use;
void page_source_close(struct page_source *s);

static inline uint64_t segment_end(const struct page_segment *s)
{
	return s->vaddr + s->pages * PAGE;
}

/* Bytes of the page at vaddr, which lies in the segment; the source must be mapped. */
static inline const uint8_t *page_source_bytes(const struct page_source *s,
	const struct page_segment *seg, uint64_t vaddr)
{
	return s->layers.at[seg->layer].map + seg->offset + (vaddr - seg->vaddr);
}
