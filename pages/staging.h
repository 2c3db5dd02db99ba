/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A place where pages wait until their tasks run on: so tasks that are saved while they live stand
 * still only as long as it takes to copy their pages, not as long as filters need.
 *
 * It is a file without a name beside the images: memory of ours stays bounded, and it is gone with
 * us, whatever happens. In an encrypted set it is encrypted, too, by a key that exists nowhere else.
 *
 *   empty --page_out_open() ... page_out_close() of each object--> filled --drain--> empty
 */
#pragma once
#include "base/vec.h"
#include "pages/pages.h"

struct page_staging;

struct staged_object {
	enum image_id type;
	unsigned long id;
	uint32_t pages_id;
	uint64_t at, end; /* of its batches in the file */
};

/*
 * Whether the pages of this set should wait while it is written: its filters cost more than the copy
 * does, and there is room for so many bytes.
 */
int page_staging_pays(struct image_set *set, uint64_t bytes, bool *ret, struct err *err) must_use;
/* Encrypted if the set is. */
int page_staging_new(const struct image_set *set, struct page_staging **ret, struct err *err)
	must_use;
void page_staging_free(struct page_staging *s); /* NULL is fine */

/* ---- for page_out ---- */
/* One object at a time, from begin to end; pages go into the sink that is returned. */
struct page_sink *page_staging_begin(struct page_staging *s, enum image_id type, unsigned long id,
	uint32_t pages_id);
void page_staging_end(struct page_staging *s);

/*
 * Moves everything on into the set. Counts the pages that were written.
 */
int page_staging_drain(struct page_staging *s, struct image_set *set, struct page_stats *stats,
	struct err *err) must_use;
