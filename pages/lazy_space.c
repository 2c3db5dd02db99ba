// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/lazy_space.h"
#include <stdlib.h>
#include <string.h>

/* ---- the space ---- */

static uint64_t *new_bits(uint64_t pages)
{
	uint64_t *bits = calloc(pages / 64 + 1, sizeof(*bits));

	if (!bits)
		abort();
	return bits;
}

void lazy_space_init(struct lazy_space *s, struct lazy_image *take_image)
{
	*s = (struct lazy_space){ .image = take_image, .left = take_image->pages,
		.done = new_bits(take_image->pages) };
}

void lazy_space_copy(struct lazy_space *to, const struct lazy_space *from)
{
	from->image->refs++;
	*to = (struct lazy_space){ .image = from->image, .left = from->left, .next = from->next,
		.done = new_bits(from->image->pages) };
	memcpy(to->done, from->done, (from->image->pages / 64 + 1) * sizeof(*to->done));
	vec_each(m, &from->moves)
		vec_push(&to->moves, *m);
}

void lazy_space_done(struct lazy_space *s)
{
	lazy_image_release(s->image);
	free(s->done);
	vec_done(&s->moves);
	*s = (struct lazy_space){ 0 };
}

static bool is_done(const struct lazy_space *s, uint64_t number)
{
	return s->done[number / 64] >> number % 64 & 1;
}

static void set_done(struct lazy_space *s, uint64_t number)
{
	if (is_done(s, number))
		return;
	s->done[number / 64] |= 1ull << number % 64;
	s->left--;
}

/* ---- where pages are ---- */

/*
 * The address in the images of what is at `at`, and up to where that goes on in the same way. False:
 * what was saved for this address has been moved away.
 */
static bool to_image(const struct lazy_space *s, uint64_t at, uint64_t *ret, uint64_t *ret_end)
{
	*ret_end = UINT64_MAX;
	*ret = at;
	for (size_t i = s->moves.n; i-- > 0;) {
		const struct lazy_move *m = &s->moves.at[i];

		if (at >= m->at && at < m->at + m->len) {
			*ret = m->image + (at - m->at);
			if (m->at + m->len < *ret_end)
				*ret_end = m->at + m->len;
			return true;
		}
		if (m->at > at && m->at < *ret_end)
			*ret_end = m->at;
	}
	vec_each(m, &s->moves) {
		if (at >= m->image && at < m->image + m->len) {
			if (m->image + m->len < *ret_end)
				*ret_end = m->image + m->len;
			return false;
		}
		if (m->image > at && m->image < *ret_end)
			*ret_end = m->image;
	}
	return true;
}

/* The reverse: where a saved page belongs now. */
static uint64_t to_space(const struct lazy_space *s, uint64_t image, uint64_t *ret_end)
{
	*ret_end = UINT64_MAX;
	vec_each(m, &s->moves) {
		if (image >= m->image && image < m->image + m->len) {
			*ret_end = m->image + m->len;
			return m->at + (image - m->image);
		}
		if (m->image > image && m->image < *ret_end)
			*ret_end = m->image;
	}
	return image;
}

/* The saved pages of a huge one are lacking together; those that were zeros are not saved. */
static bool huge_is_lacking(const struct lazy_space *s, uint64_t image, uint64_t page)
{
	const struct page_segment *seg;
	uint64_t pages, end = image + page;

	seg = lazy_image_piece(s->image, &image, end, &pages);
	return seg && !is_done(s, lazy_image_number(s->image, seg, image));
}

/* Pages that are lacking from this one on; `end` is where they stop to belong together. */
static bool lacking(const struct lazy_space *s, uint64_t image, uint64_t end, uint64_t most,
	struct lazy_range *ret)
{
	const struct page_segment *seg = lazy_image_segment(s->image, image);
	uint64_t number, n = 0, same;

	ret->page = lazy_image_page(s->image, image, &same);
	ret->image = image;
	ret->pages = ret->page / PAGE;
	if (ret->page > PAGE)
		return huge_is_lacking(s, image, ret->page);
	if (!seg || seg->vaddr > image)
		return false;
	end = end < segment_end(seg) ? end : segment_end(seg);
	end = end < same ? end : same;
	number = lazy_image_number(s->image, seg, image);
	while (n < most && image + n * PAGE < end && !is_done(s, number + n))
		n++;
	ret->pages = n;
	return n > 0;
}

bool lazy_space_find(const struct lazy_space *s, uint64_t at, uint64_t most, struct lazy_range *ret)
{
	uint64_t image, end, page;

	ret->at = at;
	ret->page = PAGE;
	if (!to_image(s, at, &image, &end))
		return false;
	page = lazy_image_page(s->image, image, &(uint64_t){ 0 });
	at -= image % page;
	image -= image % page;
	ret->at = at;
	return lacking(s, image, end == UINT64_MAX ? end : image + (end - at), most, ret);
}

bool lazy_space_find_saved(const struct lazy_space *s, uint64_t image, uint64_t most,
	struct lazy_range *ret)
{
	uint64_t end;

	image -= image % lazy_image_page(s->image, image, &end);
	ret->at = to_space(s, image, &end);
	return lacking(s, image, end, most, ret);
}

/* The first page that is not done, from this number on. */
static uint64_t next_undone(const struct lazy_space *s, uint64_t number)
{
	const uint64_t pages = s->image->pages;

	while (number < pages) {
		uint64_t word = ~s->done[number / 64] >> number % 64;

		if (word) {
			number += (uint64_t)__builtin_ctzl(word);
			return number < pages ? number : pages;
		}
		number = (number / 64 + 1) * 64;
	}
	return pages;
}

/* The segment that has the page of this number. */
static const struct page_segment *segment_of_number(const struct lazy_image *m, uint64_t number)
{
	size_t lo = 0, hi = m->source.segments.n;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->first[mid] <= number)
			lo = mid;
		else
			hi = mid;
	}
	return &m->source.segments.at[lo];
}

bool lazy_space_next(struct lazy_space *s, uint64_t most, struct lazy_range *ret)
{
	const struct page_segment *seg;
	uint64_t number;

	if (!s->left)
		return false;
	number = next_undone(s, s->next);
	if (number == s->image->pages)
		number = next_undone(s, 0);
	seg = segment_of_number(s->image, number);
	if (!lazy_space_find_saved(s, seg->vaddr +
			(number - s->image->first[seg - s->image->source.segments.at]) * PAGE, most, ret))
		return false;
	s->next = number + (ret->page > PAGE ? 1 : ret->pages);
	return true;
}

/* Saved pages of [image, end) are not wanted any more. */
static void drop_saved(struct lazy_space *s, uint64_t image, uint64_t end)
{
	const struct page_segment *seg = lazy_image_segment(s->image, image);
	const struct page_segment *last = s->image->source.segments.at + s->image->source.segments.n;

	for (; seg && seg < last && seg->vaddr < end; seg++) {
		uint64_t at = image > seg->vaddr ? image : seg->vaddr;

		for (; at < end && at < segment_end(seg); at += PAGE)
			set_done(s, lazy_image_number(s->image, seg, at));
	}
}

void lazy_space_follow(struct lazy_space *s, const struct lazy_range *range)
{
	const struct lazy_image *m = s->image;
	uint64_t behind = range->image + range->pages * PAGE;
	const struct page_segment *seg = lazy_image_segment(m, behind);

	if (seg)
		s->next = lazy_image_number(m, seg, seg->vaddr > behind ? seg->vaddr : behind);
}

void lazy_space_brought(struct lazy_space *s, const struct lazy_range *range, uint64_t pages)
{
	drop_saved(s, range->image, range->image + pages * PAGE);
}

void lazy_space_drop(struct lazy_space *s, uint64_t start, uint64_t end)
{
	while (start < end) {
		uint64_t image, stop;
		bool there = to_image(s, start, &image, &stop);

		stop = stop < end ? stop : end;
		if (there)
			drop_saved(s, image, image + (stop - start));
		start = stop;
	}
}

/* Moves do not reach into [start, end) any more. */
static void cut_moves(struct lazy_space *s, uint64_t start, uint64_t end)
{
	size_t n = s->moves.n, kept = 0;

	for (size_t i = 0; i < n; i++) {
		struct lazy_move m = s->moves.at[i];
		uint64_t stop = m.at + m.len;

		if (stop <= start || m.at >= end) {
			s->moves.at[kept++] = m;
			continue;
		}
		if (m.at < start)
			s->moves.at[kept++] = (struct lazy_move){ m.at, start - m.at, m.image };
		if (stop > end) {
			struct lazy_move rest = { end, stop - end, m.image + (end - m.at) };

			if (kept <= i)
				s->moves.at[kept++] = rest;
			else
				vec_push(&s->moves, rest);
		}
	}
	for (size_t i = n; i < s->moves.n; i++)
		s->moves.at[kept++] = s->moves.at[i];
	s->moves.n = kept;
}

void lazy_space_move(struct lazy_space *s, uint64_t from, uint64_t to, uint64_t len)
{
	struct vec_of(struct lazy_move) fresh = { 0 };

	for (uint64_t at = from; at < from + len;) {
		uint64_t image, stop;
		bool there = to_image(s, at, &image, &stop);
		struct lazy_move m;

		stop = stop < from + len ? stop : from + len;
		m = (struct lazy_move){ to + (at - from), stop - at, image };
		if (there)
			vec_push(&fresh, m);
		at = stop;
	}
	cut_moves(s, from, from + len);
	cut_moves(s, to, to + len);
	vec_each(m, &fresh)
		vec_push(&s->moves, *m);
	vec_done(&fresh);
}
