/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Freeing room in images whose pages are not needed any more: their bytes become holes of the pages
 * files (fallocate(2)), whose sizes and pagemaps stay as they are. What is freed is lost for every
 * other set that refers to the same parents.
 */
#pragma once
#include "image/image.h"

/*
 * Frees in the ancestors of a set what it has itself; `all`: also what each of them has, in those
 * behind it. Filtered pages are freed when all pages of their extent are replaced. *ret_bytes is how
 * much less room the files take.
 */
int dedup_parents(struct image_set *set, bool all, uint64_t *ret_bytes, struct err *err) must_use;
/* Frees every page of the pagemap that a restore of the set reads, in the set and its ancestors. */
int dedup_used(struct image_set *set, enum image_id type, unsigned long id, uint64_t *ret_bytes,
	struct err *err) must_use;
