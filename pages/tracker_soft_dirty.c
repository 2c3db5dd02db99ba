// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst): one per page, set by the first
 * write after they were taken away, in new areas from the start; mremap(2) takes them along. They
 * belong to the kernel, so nothing has to be kept alive between two dumps.
 *
 * Not believed where pages may be replaced by merging (MADV_MERGEABLE): the merged page comes
 * without the bit of the written one it replaces (mm/ksm.c, replace_page()).
 */
#include "pages/tracker.h"

static bool soft_dirty_trusts(const struct tracked *t, const struct tracked_area *area)
{
	return !area->mergeable;
}

/* Behind the last of the joined areas from `first` on which may hold pages. */
static size_t group_end(const struct tracked *t, size_t first)
{
	size_t i = first + 1;

	while (tracked_joins(t, i) && t->areas[i].resident)
		i++;
	return i;
}

int soft_dirty_ask(struct tracked *t, struct err *err)
{
	size_t next;
	int r = 0;

	for (size_t i = 0; t->known && i < t->n_areas && r == 0; i = next) {
		struct sweep sweep = { .t = t, .at = i, .trusts = soft_dirty_trusts };

		next = i + 1;
		if (!t->areas[i].resident)
			continue;
		next = sweep.end = group_end(t, i);
		r = page_scan_soft_dirty(t->scanner, t->areas[i].start, t->areas[next - 1].end,
			sweep_dirty, &sweep, err);
		sweep_end(&sweep);
	}
	return r == 0 && t->again ? page_restart_soft_dirty(t->tid, err) : r;
}
