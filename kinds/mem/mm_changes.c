// SPDX-License-Identifier: GPL-2.0-or-later
#include "kinds/mem/changes.h"
#include "kinds/mem/vma.h"

/* Readers of these images expect huge pages and aio rings to be complete in every set. */
static bool can_be_in_parent(const VmaEntry *v)
{
	return vma_has_pages(v) && !vma_is_vdso(v) && !vma_is_hugetlb(v) &&
		!(v->status & (VMA_AIORING | VMA_SHSTK));
}

static bool is_mergeable(const VmaEntry *v)
{
	return v->has_madv && v->madv & 1ull << 12; /* MADV_MERGEABLE */
}

/*
 * Joined are areas which are neighbours in the whole list, too: nothing of another kind is between.
 * `other` walks the whole list, `held` the list of starts.
 */
static size_t list_areas(const struct changes_in *in, struct tracked_area *areas)
{
	const struct task *t = in->task;
	size_t n = 0, held = 0, other = 0, last = SIZE_MAX;

	for (size_t i = 0; i < in->n_areas; i++) {
		const VmaEntry *v = in->areas[i];

		while (t->mm->vmas[other] != v)
			other++;
		if (!can_be_in_parent(v))
			continue;
		while (held < t->n_held && t->held[held] < v->start)
			held++;
		areas[n++] = (struct tracked_area){ .start = v->start, .end = v->end,
			.joined = last != SIZE_MAX && last + 1 == other,
			.held = held < t->n_held && t->held[held] == v->start,
			.mergeable = is_mergeable(v), .resident = in->resident[i] };
		last = other;
	}
	return n;
}

int changes_find(struct changes *c, const struct changes_in *in, const struct mm_before *before,
	struct err *err)
{
	struct tracked tracked = { .tid = in->tid, .scanner = in->scanner };
	struct tracked_area *areas;
	int r;

	*c = (struct changes){ 0 };
	if (!before || !before->tracker || !before->tracker->ask)
		return 0;
	areas = calloc(in->n_areas + 1, sizeof(*areas));
	if (!areas)
		return err_nomem(err);
	tracked.n_areas = list_areas(in, areas);
	tracked.areas = areas;
	tracked.uffd = before->uffd;
	tracked.known = before->known && before->parent;
	tracked.again = before->again;
	r = before->tracker->ask(&tracked, err);
	free(areas);
	c->unchanged = tracked.unchanged;
	c->parent = before->parent;
	return r;
}

static uint64_t run_end(const struct run *run)
{
	return run->vaddr + run->pages * PAGE;
}

bool changes_next(struct changes *c, uint64_t at, uint64_t end, uint64_t *ret_end)
{
	const struct pagemap *map = c->parent;
	const struct page_range *range;
	const struct run *run;

	*ret_end = end;
	while (c->at_range < c->unchanged.n && c->unchanged.at[c->at_range].end <= at)
		c->at_range++;
	while (map && c->at_run < map->n && run_end(&map->runs[c->at_run]) <= at)
		c->at_run++;
	if (c->at_range == c->unchanged.n || !map || c->at_run == map->n)
		return false;
	range = &c->unchanged.at[c->at_range];
	run = &map->runs[c->at_run];
	if (range->start > at || run->vaddr > at) {
		uint64_t next = range->start > run->vaddr ? range->start : run->vaddr;

		*ret_end = next < end ? next : end;
		return false;
	}
	if (range->end < *ret_end)
		*ret_end = range->end;
	if (run_end(run) < *ret_end)
		*ret_end = run_end(run);
	/* left to a lazy-pages server: nobody has stored it */
	return run->flags & (RUN_PRESENT | RUN_PARENT);
}

void changes_done(struct changes *c)
{
	vec_done(&c->unchanged);
}
