/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Telling changed pages by their contents: 128 bits of XXH3 per page, with a seed drawn for each
 * chain of images, are kept beside the pagemap ("torpor-digest-N", "torpor-digest-shmem-N"), in the
 * order of its pages. Works on every kernel and for memory that several processes write.
 */
#pragma once
#include "pages/pages.h"

/* What a dump does with digests. */
struct digest_plan {
	struct image_set *before; /* set to compare with, or NULL */
	const char *before_run_id, *run_id; /* of that set, of this dump */
	bool keep; /* the digests are written, for the next dump */
};

struct digest_reader;

/*
 * Digests of the pages of a pagemap image of the set; *ret is NULL when there are none, or when they
 * belong to another dump than run_id. Pages may be asked for in ascending order only.
 */
int digest_reader_open(struct image_set *set, enum image_id type, unsigned long id,
	const char *run_id, struct digest_reader **ret, struct err *err) must_use;
void digest_reader_close(struct digest_reader *r); /* NULL is fine */

/* A feed in front of another one. Pages whose digests are those of the set before lose their bytes. */
struct digest_feed {
	struct page_feed base;
	struct page_feed *inner; /* borrowed */
	struct digest_reader *before; /* NULL: every page is new */
	struct image_writer *out; /* NULL: the digests are not kept */
	uint64_t seed;
	uint64_t skipped; /* pages */
};

/* `type` and `id` are those of the pagemap that is going to be written into the set. */
int digest_feed_open(struct digest_feed *f, struct page_feed *inner, const struct digest_plan *plan,
	struct image_set *set, enum image_id type, unsigned long id, struct err *err) must_use;
/* Finishes the image of digests; in any case the feed is gone. */
int digest_feed_close(struct digest_feed *f, struct err *err) must_use;
