/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random access to a filtered pages file: decodes the extents that are asked for, keeps the last
 * ones, and decodes ahead by a crew while it is read in order.
 */
#pragma once
#include "base/crew.h"
#include "pages/filter.h"

struct extent_reader;

/* What a reader needs of its pages file; it takes the chain's reference, copies the extents. */
struct extent_file {
	struct filter_chain *take_chain;
	int fd; /* borrowed */
	struct torpor_extent common; /* as in struct page_sink */
	uint32_t object;
	const struct extent *extents; /* ascending, without gaps from offset 0 on */
	size_t n;
};

struct extent_reader *extent_reader_new(const struct extent_file *f);
void extent_reader_free(struct extent_reader *r); /* NULL is fine */
/* Reads stored bytes from a mapping of the whole file; the descriptor is not used any more. */
void extent_reader_use_map(struct extent_reader *r, const uint8_t *map);
/* Decodes ahead by this crew; NULL: no more, all its jobs are done. */
void extent_reader_use_crew(struct extent_reader *r, struct crew *crew);
/* Gives memory back; what was decoded is decoded again when it is needed. */
void extent_reader_forget(struct extent_reader *r);
/* Pages of [offset, offset + len) as if the file were not filtered. */
int extent_reader_get(struct extent_reader *r, uint64_t offset, uint64_t len, uint8_t *buf,
	struct err *err) must_use;
