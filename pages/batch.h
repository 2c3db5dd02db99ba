/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What feeds do with a batch. */
#pragma once
#include "pages/pages.h"
#include <string.h>

static inline void batch_reset(struct batch *b)
{
	b->len = 0;
	b->n_runs = 0;
}

/* Too little room is left for a reading that is worth it. */
static inline bool batch_is_full(const struct batch *b)
{
	return b->len > BATCH_BYTES - 16 * PAGE;
}

static inline bool page_is_zero(const uint8_t *page)
{
	uint64_t first;

	memcpy(&first, page, sizeof(first));
	return !first && !memcmp(page, page + sizeof(first), PAGE - sizeof(first));
}

/* Notes pages without their bytes. There must be room for one more run. */
static inline void batch_add_run(struct batch *b, uint64_t vaddr, uint64_t pages, uint32_t flags)
{
	struct run *last = b->n_runs ? &b->runs[b->n_runs - 1] : NULL;

	if (last && last->flags == flags && last->vaddr + last->pages * PAGE == vaddr)
		last->pages += pages;
	else
		b->runs[b->n_runs++] = (struct run){ .vaddr = vaddr, .pages = pages, .flags = flags };
}

/* Notes that the bytes at b->len, which are there already, are the page at vaddr. */
static inline void batch_add_page(struct batch *b, uint64_t vaddr, uint32_t flags)
{
	batch_add_run(b, vaddr, 1, flags);
	b->len += PAGE;
}

/*
 * Takes over len bytes which a read left at `from` (at or behind b->len) as pages from vaddr on,
 * without those that are all zero if they may be left out.
 */
static inline void batch_take(struct batch *b, const uint8_t *from, uint64_t vaddr, size_t len,
	uint32_t flags, bool drop_zero)
{
	for (size_t at = 0; at < len; at += PAGE) {
		if (drop_zero && page_is_zero(from + at))
			continue;
		if (b->bytes + b->len != from + at)
			memmove(b->bytes + b->len, from + at, PAGE);
		batch_add_page(b, vaddr + at, flags);
	}
}
