/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a dump's pages go: into files of its set, to the page server the set sends them to, or where
 * they wait for their filters.
 */
#pragma once
#include "pages/client.h"
#include "pages/sink.h"

struct page_staging;

struct page_out {
	struct page_sink *sink; /* for pages_pump() */
	bool remote; /* by commands; in torpor's own form the image sink sends its pages file */
	struct page_staging *staging; /* or NULL */
	struct image_sink image;
	struct client_sink client;
};

/* As image_sink_open(), image_sink_close() and image_sink_drop(). */
int page_out_open(struct page_out *o, struct image_set *set, enum image_id type, unsigned long id,
	uint32_t pages_id, struct err *err) must_use;
/* *ret_written: pages whose bytes were kept; those that wait are counted later. */
int page_out_close(struct page_out *o, uint64_t *ret_written, struct err *err) must_use;
void page_out_drop(struct page_out *o);
