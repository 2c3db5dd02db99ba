/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where pages go: a pagemap image and its pages file. */
#pragma once
#include "base/vec.h"
#include "pages/pages.h"

struct page_client;

struct image_sink {
	struct page_sink base;
	struct image_set *set;
	struct image_writer *pagemap;
	int fd; /* the pages file, -1: it is elsewhere, or only the map is written */
	struct page_client *remote; /* takes the pages file; or NULL */
	bool travels; /* which is a pipe: no holes */
	uint32_t pages_id;
	struct run pending; /* may still grow */
	uint64_t written; /* pages */
	uint64_t stored; /* bytes of the pages file */
	/* Extents that begin in `pending`, as the columns of pagemap_entry. */
	struct vec_of(uint32_t) extent_pages, extent_bytes, extent_filters;
};

/*
 * Creates both files (the pages file also when it stays empty) and writes the head. Pages go through
 * the filters of the set, if it has some; pages_id is the object's number then. remote: the pages file
 * is sent there; NULL: it is one of the set.
 */
int image_sink_open(struct image_sink *s, struct image_set *set, enum image_id type,
	unsigned long id, uint32_t pages_id, struct page_client *remote, struct err *err) must_use;
/*
 * Only the map, of pages whose bytes go elsewhere; type is one of IMG_TORPOR_PAGEMAP(_SHMEM).
 */
int image_sink_open_map(struct image_sink *s, struct image_set *set, enum image_id type,
	unsigned long id, struct err *err) must_use;
/* Finishes both files; the sink is gone in any case. */
int image_sink_close(struct image_sink *s, struct err *err) must_use;
/* After a failure: lets go of the files, which the set removes. */
void image_sink_drop(struct image_sink *s);
