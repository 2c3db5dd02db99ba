/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of mm_pages_pick(): which pages need not be saved because the parent images have them. */
#pragma once
#include "kinds/mem/mm.h"

struct changes {
	struct page_ranges unchanged; /* says the tracker */
	const struct pagemap *parent;
	size_t at_range, at_run; /* first ones that may still matter */
};

/* Asks the tracker; before may be NULL. */
int changes_find(struct changes *c, struct world *w, const struct task *t, pid_t tid,
	const struct page_scanner *scanner, const struct mm_before *before, struct err *err) must_use;
/*
 * The fate of the page at `at`: true if the parent images have it as it is. It is the same for all
 * pages up to *ret_end (at most `end`). To be asked with ascending addresses.
 */
bool changes_next(struct changes *c, uint64_t at, uint64_t end, uint64_t *ret_end);
void changes_done(struct changes *c);
