/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saved pages as restore sees them: where the bytes of every page lie, parent images included.
 */
#pragma once
#include "base/vec.h"
#include "pages/pages.h"

enum {
	PAGE_CREW_FROM = 1024 * 1024, /* so many filtered bytes are worth threads */
};

struct crew;
struct extent_reader;

/* One pages file of the chain; layer 0 is that of the set itself. */
struct page_layer {
	int fd; /* -1 if no page comes from it */
	uint64_t len; /* bytes of the file */
	const uint8_t *map; /* of the whole file; NULL before page_source_map() */
	struct extent_reader *filtered; /* how to get at its pages if the file has no plain ones */
};

/* Pages whose bytes lie one after the other in one layer. */
struct page_segment {
	uint64_t vaddr; /* or offset in a shared object */
	uint64_t pages;
	uint64_t offset; /* in the pages file, bytes; as if it were not filtered */
	uint32_t layer; /* or PAGE_LAYER_REMOTE */
};

/* The bytes are in no image: a server has them, and they can only be asked for (pages/lazy_get.h). */
#define PAGE_LAYER_REMOTE UINT32_MAX

struct page_layers vec_of(struct page_layer);
struct page_segments vec_of(struct page_segment);

struct page_source {
	struct page_layers layers;
	struct page_segments segments; /* in ascending order, without overlaps */
};

/*
 * Finds the pages of a pagemap (as pagemap_load()) through the chain of parents and opens the pages
 * files. A page that is in none of them is an image error that names the set where it should be. No
 * image: no segments.
 */
int page_source_open(struct image_set *set, enum image_id type, unsigned long id,
	struct page_source *ret, struct err *err) must_use;
/* Which pages; page_source_open() wants all, and all of them in images. */
enum page_choice {
	PAGES_ALL,
	PAGES_EAGER, /* without those that may come later (RUN_LAZY) */
	PAGES_LAZY, /* only those, also the ones a server has (PAGE_LAYER_REMOTE) */
};
int page_source_open_some(struct image_set *set, enum image_id type, unsigned long id,
	enum page_choice choice, struct page_source *ret, struct err *err) must_use;
/*
 * Pages from vaddr on, all of them in the segment: copied to buf, decoded if they are filtered. Fails
 * when they cannot be read or are not what was saved.
 */
int page_source_read(struct page_source *s, const struct page_segment *seg, uint64_t vaddr,
	uint64_t pages, void *buf, struct err *err) must_use;
/* The same by place: bytes [offset, offset + len) of a layer. */
int page_layer_read(struct page_layer *l, uint64_t offset, uint64_t len, void *buf,
	struct err *err) must_use;
/* Like page_source_read(), but where the pages are mapped *ret is there and buf is not touched. */
int page_source_view(struct page_source *s, const struct page_segment *seg, uint64_t vaddr,
	uint64_t pages, uint8_t *buf, const uint8_t **ret, struct err *err) must_use;

/* Maps the pages files: then no descriptor is needed any more (page_source_close_files()). */
int page_source_map(struct page_source *s, struct err *err) must_use;
void page_source_close_files(struct page_source *s);
void page_source_close(struct page_source *s);

/* Bytes of filtered pages; 0: nothing is to be decoded. */
uint64_t page_source_filtered(const struct page_source *s);
/* Lets a crew decode ahead of reads in ascending order; NULL: no more. */
void page_source_use_crew(struct page_source *s, struct crew *crew);
/* Gives back memory that only makes further reads faster. */
void page_source_forget(struct page_source *s);

static inline uint64_t segment_end(const struct page_segment *s)
{
	return s->vaddr + s->pages * PAGE;
}
