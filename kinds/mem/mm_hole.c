// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Free places in address spaces that do not exist yet. Kept clear: every area, 64 KiB around it,
 * 1 GiB below a stack that grows down (the kernel wants 1 MiB, the stack more) and above the heap.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "kinds/mem/build.h"
#include <sys/mman.h>

#define MARGIN 0x10000ul
#define GROWTH 0x40000000ul /* 1 GiB */
/* Where exec puts the stack and the vdso of a new program, at random: 16 GiB and their sizes. */
#define RANDOM_TOP 0x800000000ul

struct span {
	uint64_t start, end;
};

struct spans vec_of(struct span);

static void spans_add(struct spans *s, uint64_t start, uint64_t end, uint64_t below, uint64_t above)
{
	struct span x = { start > below ? start - below : 0,
		end < USER_END - above ? end + above : USER_END };

	if (start < end && start < USER_END)
		vec_push(s, x);
}

static void spans_add_task(struct spans *s, const struct task *t)
{
	const MmEntry *mm = t->mm;

	if (!mm)
		return;
	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];

		spans_add(s, v->start, v->end, v->flags & MAP_GROWSDOWN ? GROWTH : MARGIN, MARGIN);
	}
	if (mm->mm_start_brk)
		spans_add(s, mm->mm_start_brk, mm->mm_brk + 1, MARGIN, GROWTH);
}

static int by_start(const void *a, const void *b)
{
	const struct span *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static uint64_t lowest_address(void)
{
	auto_free char *text = NULL;
	struct cursor c;
	uint64_t min;

	if (io_slurp("/proc/sys/vm/mmap_min_addr", &text, NULL) < 0)
		return MARGIN;
	c = cursor_of(text);
	return parse_u64(&c, 10, &min) && min > MARGIN ? min : MARGIN;
}

/* Sorts the spans, merges them, and leaves the gaps between them (none of them empty) instead. */
static void spans_invert(struct spans *s)
{
	uint64_t at = (lowest_address() + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	struct spans gaps = { 0 };
	struct span last;

	if (s->n)
		qsort(s->at, s->n, sizeof(*s->at), by_start);
	vec_each(x, s) {
		struct span gap = { at, x->start & ~(uint64_t)(PAGE - 1) };

		if (gap.start < gap.end)
			vec_push(&gaps, gap);
		if (x->end > at)
			at = (x->end + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	}
	last = (struct span){ at, USER_END - MARGIN };
	if (last.start < last.end)
		vec_push(&gaps, last);
	vec_done(s);
	*s = gaps;
}

/* The highest place in the gaps that ends at or below `top`. */
static bool highest_place(const struct spans *gaps, size_t len, uint64_t top, uint64_t *ret)
{
	for (size_t i = gaps->n; i-- > 0;) {
		uint64_t end = gaps->at[i].end < top ? gaps->at[i].end : top;

		if (end < gaps->at[i].start || end - gaps->at[i].start < len)
			continue;
		*ret = end - len;
		return true;
	}
	return false;
}

int mm_find_hole(const struct world *w, size_t len, uint64_t *ret_addr, struct err *err)
{
	struct spans s = { 0 };
	bool found;

	len = (len + PAGE - 1) & ~(size_t)(PAGE - 1);
	world_each_task(t, w)
		spans_add_task(&s, t);
	spans_invert(&s);
	/* a husk that has just been started must have the place free, too */
	found = highest_place(&s, len, USER_END - RANDOM_TOP, ret_addr) ||
		highest_place(&s, len, USER_END, ret_addr);
	vec_done(&s);
	if (!found)
		return err_unsupported(err, "no range of %zu bytes is free in the address spaces of "
			"all tasks", len);
	return 0;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

int hole_near(const struct task *t, const struct husk_layout *layout, uint64_t len, uint64_t near,
	uint64_t *ret, struct err *err)
{
	uint64_t best = 0;
	struct spans s = { 0 };

	spans_add_task(&s, t);
	spans_add(&s, layout->area, layout->area + layout->area_len, MARGIN, MARGIN);
	spans_invert(&s);
	vec_each(g, &s) {
		uint64_t at = g->end <= near ? g->end - len : g->start;

		if (g->end - g->start < len)
			continue;
		if (!best || distance(at, near) < distance(best, near))
			best = at;
	}
	vec_done(&s);
	if (!best)
		return err_unsupported(err, "no range of %lu bytes is free in the address space of "
			"task %d", len, t->pid);
	*ret = best;
	return 0;
}

bool hole_is_free(const struct task *t, uint64_t start, uint64_t len)
{
	struct spans s = { 0 };
	bool ok = false;

	spans_add_task(&s, t);
	spans_invert(&s);
	vec_each(g, &s)
		ok |= start >= g->start && start + len <= g->end;
	vec_done(&s);
	return ok;
}
