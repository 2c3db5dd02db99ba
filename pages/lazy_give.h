/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving pages away out of images (page-server --lazy-pages). */
#pragma once
#include "base/table.h"
#include "base/vec.h"
#include "pages/lazy_get.h"

struct page_source;

struct image_giver {
	struct page_giver base;
	struct image_set *set; /* borrowed */
	struct table sources; /* pid -> struct page_source */
	struct vec_of(struct page_source *) all;
	uint64_t given; /* pages */
};

void image_giver_init(struct image_giver *g, struct image_set *set);
void image_giver_done(struct image_giver *g);
