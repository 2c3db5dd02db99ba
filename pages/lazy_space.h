/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an address space still lacks of its saved pages, while its task runs, forks, moves and drops
 * memory. Pages are known by their address in the images; where they belong now may be another
 * place, because mremap(2) moves them.
 */
#pragma once
#include "pages/source.h"

/* An area of hugetlbfs: its pages come as a whole. */
struct lazy_huge {
	uint64_t start, end;
	uint64_t page; /* bytes, a power of two; at most LAZY_HUGE_MAX */
};

enum { LAZY_HUGE_MAX = 4 << 20 };

/* The saved pages of one task, shared by all that were forked from it. */
struct lazy_image {
	unsigned refs;
	unsigned long pid; /* as the images call it */
	struct page_source source; /* only what may be brought later */
	uint64_t *first; /* by segment: number of its first page, counted through all */
	uint64_t pages; /* of all segments */
	struct vec_of(struct lazy_huge) huge; /* ascending */
};

/* A range that was moved. */
struct lazy_move {
	uint64_t at, len; /* where it is now */
	uint64_t image; /* its address in the images */
};

struct lazy_space {
	struct lazy_image *image;
	uint64_t *done; /* a bit for each page: brought, or not wanted any more */
	uint64_t left; /* pages that are not done */
	uint64_t next; /* where the background goes on */
	struct vec_of(struct lazy_move) moves; /* newer ones are behind */
};

/* Pages to be brought: they follow each other in the images and in the address space. */
struct lazy_range {
	uint64_t image, at; /* addresses */
	uint64_t pages;
	uint64_t page; /* bytes of a page as the kernel has them here; of huge ones a range has one */
};

int lazy_image_open(struct image_set *set, unsigned long pid, struct lazy_image **ret,
	struct err *err) must_use;
void lazy_image_release(struct lazy_image *image);
/* The page at this address, in bytes, and up to where pages are of that size. */
uint64_t lazy_image_page(const struct lazy_image *m, uint64_t image, uint64_t *ret_end);
/* The segment with the page, or the first one behind it; NULL behind the last. */
const struct page_segment *lazy_image_segment(const struct lazy_image *m, uint64_t image);
/* Which page of the segment it is, counted through all. */
uint64_t lazy_image_number(const struct lazy_image *m, const struct page_segment *seg, uint64_t image);
/* The next saved pages of [*image, end): *image becomes where they begin; NULL: there are none. */
const struct page_segment *lazy_image_piece(const struct lazy_image *m, uint64_t *image, uint64_t end,
	uint64_t *ret_pages);

/* Takes a reference of the image over. */
void lazy_space_init(struct lazy_space *s, struct lazy_image *take_image);
/* The same for a copy of the address space. */
void lazy_space_copy(struct lazy_space *to, const struct lazy_space *from);
void lazy_space_done(struct lazy_space *s);

/*
 * What is lacking at this address and behind it, at most so many pages, or a huge one; false: nothing
 * was saved, and ret->at and ret->page say which page is empty.
 */
bool lazy_space_find(const struct lazy_space *s, uint64_t at, uint64_t most, struct lazy_range *ret);
/* The same for a page by its address in the images. */
bool lazy_space_find_saved(const struct lazy_space *s, uint64_t image, uint64_t most,
	struct lazy_range *ret);
/* Anything that is lacking, one range after the other; false: nothing is. */
bool lazy_space_next(struct lazy_space *s, uint64_t most, struct lazy_range *ret);
/* lazy_space_next() goes on behind this range: what is touched next is likely to be there. */
void lazy_space_follow(struct lazy_space *s, const struct lazy_range *range);
/* These pages are there now. */
void lazy_space_brought(struct lazy_space *s, const struct lazy_range *range, uint64_t pages);
/* The task dropped or unmapped [start, end), or moved it. */
void lazy_space_drop(struct lazy_space *s, uint64_t start, uint64_t end);
void lazy_space_move(struct lazy_space *s, uint64_t from, uint64_t to, uint64_t len);
