// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Write protection by a userfaultfd (kernel/userfault.h). Behaviour it rests on (Linux 6.7 and
 * later, measured on 6.18):
 *
 * - A registered page is "written" until the scan protects it, and from its first write on, by
 *   whomever. Fresh pages of a registered area are written.
 * - New areas are not registered, also when they lie between registered ones: such neighbours are
 *   never merged. mremap(2) drops the registration of what it moves, and up to 6.12 leaves the
 *   pages' protection bits behind; so in an area that is registered only now, nothing is believed.
 * - The scan skips, or with PM_SCAN_CHECK_WPASYNC refuses, what is not registered.
 * - fork(2): the child has no registration. execve(2): the descriptor is of no use any more.
 * - Somebody else's userfaultfd has the area: EBUSY, we never see its writes.
 */
#include "base/log.h"
#include "kernel/userfault.h"
#include "pages/tracker.h"
#include <errno.h>
#include <stdlib.h>

/* Registers areas [first, end), by halves where not all of them can be; sets good[] of each. */
static void register_areas(const struct tracked *t, size_t first, size_t end, bool *good)
{
	size_t half = first + (end - first) / 2;

	if (userfault_track(t->uffd, t->areas[first].start, t->areas[end - 1].end) == 0) {
		for (size_t i = first; i < end; i++)
			good[i] = true;
		return;
	}
	if (end - first == 1) {
		log_debug("the area 0x%lx-0x%lx of task %d cannot be tracked; it is read whole",
			t->areas[first].start, t->areas[first].end, t->tid);
		return;
	}
	register_areas(t, first, half, good);
	register_areas(t, half, end, good);
}

/* To go on with tracking, all areas; for an answer alone, those that were tracked so far. */
static bool is_wanted(const struct tracked *t, size_t i)
{
	return t->again || t->areas[i].held;
}

/* Behind the last of the joined areas from `first` on which are all wanted. */
static size_t wanted_end(const struct tracked *t, size_t first)
{
	size_t i = first + 1;

	while (tracked_joins(t, i) && is_wanted(t, i))
		i++;
	return i;
}

static size_t good_end(const struct tracked *t, size_t first, const bool *good)
{
	size_t i = first + 1;

	while (tracked_joins(t, i) && good[i])
		i++;
	return i;
}

static bool write_protect_trusts(const struct tracked *t, const struct tracked_area *area)
{
	return t->known && area->held;
}

static int scan_areas(struct tracked *t, size_t first, size_t end, struct err *err)
{
	struct sweep sweep = { .t = t, .at = first, .end = end, .trusts = write_protect_trusts };
	const size_t before = t->unchanged.n;
	int r = page_scan_written(t->scanner, t->again, t->areas[first].start,
		t->areas[end - 1].end, sweep_dirty, &sweep, err);

	if (r == 0)
		sweep_end(&sweep);
	if (r != -EPERM)
		return r;
	/* something between them is not registered, against all we know: nothing is believed */
	log_info("the areas 0x%lx-0x%lx of task %d cannot be tracked; they are read whole",
		t->areas[first].start, t->areas[end - 1].end, t->tid);
	t->unchanged.n = before;
	err_clear(err);
	return 0;
}

int write_protect_ask(struct tracked *t, struct err *err)
{
	bool *good = calloc(t->n_areas + 1, sizeof(*good));
	size_t next;
	int r = 0;

	if (!good)
		return err_nomem(err);
	if (!t->known && !t->again)
		goto out;
	for (size_t i = 0; i < t->n_areas; i = next) {
		next = i + 1;
		if (!is_wanted(t, i))
			continue;
		next = wanted_end(t, i);
		register_areas(t, i, next, good);
	}
	for (size_t i = 0; i < t->n_areas && r == 0; i = next) {
		next = i + 1;
		if (!good[i])
			continue;
		next = good_end(t, i, good);
		r = scan_areas(t, i, next, err);
	}
out:
	free(good);
	return r;
}
