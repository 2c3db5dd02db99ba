/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of mm_pages_pick(): which pages need not be saved because the parent images have them. */
#pragma once
#include "kinds/mem/mm.h"

struct changes {
	struct page_ranges unchanged; /* says the tracker */
	const struct pagemap *parent;
	size_t at_range, at_run; /* first ones that may still matter */
};

/* Where to look. */
struct changes_in {
	const struct task *task;
	pid_t tid;
	const struct page_scanner *scanner;
	VmaEntry *const *areas; /* those with pages, ascending */
	const bool *resident; /* which of them may hold some */
	size_t n_areas;
};

/* Asks the tracker; before may be NULL. */
int changes_find(struct changes *c, const struct changes_in *in, const struct mm_before *before,
	struct err *err) must_use;
/*
 * The fate of the page at `at`: true if the parent images have it as it is. It is the same for all
 * pages up to *ret_end (at most `end`). To be asked with ascending addresses.
 */
bool changes_next(struct changes *c, uint64_t at, uint64_t end, uint64_t *ret_end);
void changes_done(struct changes *c);
