// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/table.h"
#include "base/vec.h"
#include "pages/lazy_give.h"
#include "pages/source.h"
#include <errno.h>
#include <stdlib.h>

static int find_source(struct image_giver *g, unsigned long pid, struct page_source **ret,
	struct err *err)
{
	struct page_source *s = table_get(&g->sources, pid);
	int r;

	*ret = s;
	if (s)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_nomem(err);
	r = page_source_open(g->set, IMG_PAGEMAP, pid, s, err);
	if (r < 0) {
		free(s);
		return r;
	}
	table_put(&g->sources, pid, s);
	vec_push(&g->all, s);
	*ret = s;
	return 0;
}

static const struct page_segment *find_segment(const struct page_source *s, uint64_t vaddr)
{
	size_t lo = 0, hi = s->segments.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (segment_end(&s->segments.at[mid]) <= vaddr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < s->segments.n && s->segments.at[lo].vaddr <= vaddr ? &s->segments.at[lo] : NULL;
}

static int give(struct page_giver *base, unsigned long pid, uint64_t vaddr, uint64_t pages, void *buf,
	struct err *err)
{
	struct image_giver *g = (struct image_giver *)base;
	struct page_source *s;
	int r = find_source(g, pid, &s, err);

	while (r == 0 && pages) {
		const struct page_segment *seg = find_segment(s, vaddr);
		uint64_t n = seg ? (segment_end(seg) - vaddr) / PAGE : 0;

		if (!seg)
			return err_set(err, ERR_IMAGE, ENOENT, "the images have no page 0x%lx of task "
				"%lu", vaddr, pid);
		n = n < pages ? n : pages;
		r = page_source_read(s, seg, vaddr, n, buf, err);
		buf = (uint8_t *)buf + n * PAGE;
		vaddr += n * PAGE;
		pages -= n;
		g->given += n;
	}
	return r;
}

void image_giver_init(struct image_giver *g, struct image_set *set)
{
	*g = (struct image_giver){ .base = { give }, .set = set };
}

void image_giver_done(struct image_giver *g)
{
	vec_each(s, &g->all) {
		page_source_close(*s);
		free(*s);
	}
	vec_done(&g->all);
	table_done(&g->sources);
}
