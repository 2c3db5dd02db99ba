// SPDX-License-Identifier: GPL-2.0-or-later
/* The saved pages of one task that may come later. */
#include "image/image.h"
#include "pages/lazy_space.h"
#include "proto/messages.h"
#include <stdlib.h>

/* ---- huge pages ---- */

uint64_t lazy_image_page(const struct lazy_image *m, uint64_t image, uint64_t *ret_end)
{
	size_t lo = 0, hi = m->huge.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->huge.at[mid].end <= image)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_end = UINT64_MAX;
	if (lo == m->huge.n)
		return PAGE;
	if (m->huge.at[lo].start > image) {
		*ret_end = m->huge.at[lo].start;
		return PAGE;
	}
	*ret_end = m->huge.at[lo].end;
	return m->huge.at[lo].page;
}

static int add_huge(struct lazy_image *m, const VmaEntry *v, struct err *err)
{
	enum { HUGETLB = 0x40000, SHIFT_AT = 26, SHIFT_MASK = 63, SHIFT = 21 };
	unsigned shift = v->flags >> SHIFT_AT & SHIFT_MASK;
	struct lazy_huge h = { v->start, v->end, 1ull << (shift ? shift : SHIFT) };

	if (!(v->flags & HUGETLB) || h.page > LAZY_HUGE_MAX)
		return 0;
	if (h.page < PAGE || h.start % h.page || h.end % h.page || h.end <= h.start ||
		(m->huge.n && m->huge.at[m->huge.n - 1].end > h.start))
		return err_image(err, "mm-%lu.img: the area 0x%lx-0x%lx is none of huge pages", m->pid,
			v->start, v->end);
	vec_push(&m->huge, h);
	return 0;
}

/* Tasks that share their memory with another one have no image of it. */
static int load_huge(struct image_set *set, struct lazy_image *m, struct err *err)
{
	struct arena *a = arena_new();
	struct image_reader *r = NULL;
	MmEntry *mm = NULL;
	int got = image_open(set, IMG_MM, m->pid, &r, err);

	if (got >= 0 && r)
		got = image_next(r, a, &mm, err);
	for (size_t i = 0; got >= 0 && mm && i < mm->n_vmas; i++)
		got = add_huge(m, mm->vmas[i], err);
	image_reader_close(r);
	arena_free(a);
	return got < 0 ? got : 0;
}

/* ---- the image ---- */

int lazy_image_open(struct image_set *set, unsigned long pid, struct lazy_image **ret,
	struct err *err)
{
	struct lazy_image *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return err_nomem(err);
	m->refs = 1;
	m->pid = pid;
	r = page_source_open_some(set, IMG_PAGEMAP, pid, PAGES_LAZY, &m->source, err);
	if (r == 0)
		r = load_huge(set, m, err);
	if (r < 0) {
		lazy_image_release(m);
		return r;
	}
	m->first = calloc(m->source.segments.n + 1, sizeof(*m->first));
	if (!m->first)
		abort();
	vec_each(seg, &m->source.segments) {
		m->first[seg - m->source.segments.at] = m->pages;
		m->pages += seg->pages;
	}
	*ret = m;
	return 0;
}

void lazy_image_release(struct lazy_image *image)
{
	if (!image || --image->refs)
		return;
	page_source_close(&image->source);
	vec_done(&image->huge);
	free(image->first);
	free(image);
}

const struct page_segment *lazy_image_segment(const struct lazy_image *m, uint64_t image)
{
	size_t lo = 0, hi = m->source.segments.n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (segment_end(&m->source.segments.at[mid]) <= image)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->source.segments.n ? &m->source.segments.at[lo] : NULL;
}

const struct page_segment *lazy_image_piece(const struct lazy_image *m, uint64_t *image, uint64_t end,
	uint64_t *ret_pages)
{
	const struct page_segment *seg = lazy_image_segment(m, *image);

	if (*image >= end || !seg || seg->vaddr >= end)
		return NULL;
	if (seg->vaddr > *image)
		*image = seg->vaddr;
	end = end < segment_end(seg) ? end : segment_end(seg);
	*ret_pages = (end - *image) / PAGE;
	return seg;
}

uint64_t lazy_image_number(const struct lazy_image *m, const struct page_segment *seg,
	uint64_t image)
{
	return m->first[seg - m->source.segments.at] + (image - seg->vaddr) / PAGE;
}
