// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Memory shared with the parent by copy-on-write. The husk is a fork of the parent's, whose memory
 * is exactly what images say: the parent's own, or what mm_legacy.c made of them. So both
 * questions, which areas and which pages can stay, are answered by images alone:
 *
 * - a part of an area stays if the parent has a private area of the same kind over it;
 * - in such a part a page stays if both sides have it with the same bytes (or neither has it); a
 *   different one is written, one that only the parent has is dropped.
 */
#include "kinds/mem/build.h"
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { COMPARE_PAGES = 64 };

static bool can_stay(const VmaEntry *v, const VmaEntry *u)
{
	const uint32_t flags = VMA_MAP_NORESERVE | VMA_MAP_GROWSDOWN;
	const uint64_t huge = 1ull << MADV_HUGEPAGE | 1ull << MADV_NOHUGEPAGE;
	enum area_class class = area_class_of(v);

	if (class != area_class_of(u) || (class != AREA_ANON && class != AREA_FILE))
		return false;
	/* pages of hugetlb areas cannot be dropped one by one */
	if ((v->status | u->status) & (VMA_FILE_SHARED | VMA_SOCKET) || vma_is_hugetlb(v) ||
		vma_is_hugetlb(u) || (v->flags | u->flags) & VMA_MAP_DROPPABLE)
		return false;
	if ((v->flags ^ u->flags) & flags ||
		((v->has_madv ? v->madv : 0) ^ (u->has_madv ? u->madv : 0)) & huge)
		return false;
	return class == AREA_ANON ||
		(v->shmid == u->shmid && v->start - v->pgoff == u->start - u->pgoff);
}

static void cut_add(struct pieces *out, const VmaEntry *v, uint64_t start, uint64_t end,
	const VmaEntry *kept)
{
	struct piece p = { .vma = v, .start = start, .end = end, .kept = kept,
		.prot_now = kept ? kept->prot : 0 };

	if (start < end)
		vec_push(out, p);
}

void cow_cut(struct pieces *out, const VmaEntry *v, const MmEntry *theirs, size_t *cursor)
{
	uint64_t fresh = v->start; /* up to here all is cut */
	size_t first = out->n;

	while (theirs && *cursor < theirs->n_vmas) {
		const VmaEntry *u = theirs->vmas[*cursor];
		uint64_t start, end;

		if (area_class_of(u) == AREA_NONE || u->end <= fresh) {
			++*cursor;
			continue;
		}
		if (u->start >= v->end)
			break;
		start = u->start > fresh ? u->start : fresh;
		end = u->end < v->end ? u->end : v->end;
		if (can_stay(v, u)) {
			cut_add(out, v, fresh, start, NULL);
			cut_add(out, v, start, end, u);
			fresh = end;
		}
		if (u->end > v->end)
			break;
		++*cursor;
	}
	cut_add(out, v, fresh, v->end, NULL);
	if (out->n - first >= 2 && v->flags & VMA_MAP_GROWSDOWN)
		out->at[first].grows = !out->at[first].kept && out->at[first + 1].kept;
}

bool mm_inherits(const struct task *child, const struct task *parent)
{
	struct pieces pieces = { 0 };
	bool found = false;
	size_t cursor = 0;

	if (!child->mm || !parent->mm || child->mm->exe_file_id != parent->mm->exe_file_id)
		return false;
	for (size_t i = 0; i < child->mm->n_vmas && !found; i++) {
		const VmaEntry *v = child->mm->vmas[i];

		if (area_class_of(v) == AREA_NONE)
			continue;
		pieces.n = 0;
		cow_cut(&pieces, v, parent->mm, &cursor);
		vec_each(p, &pieces)
			found |= p->kept;
	}
	vec_done(&pieces);
	return found;
}

/* ------------------------------------------------------------------------- pages to be dropped */

static int forget(struct build *b, uint64_t start, uint64_t end, struct err *err)
{
	int r = build_room(b, CALL_ROOM, err);

	if (r < 0)
		return r;
	build_note(b, tape_call(b->tape, "mm", TAPE_MUST, SYS_madvise, T(start), T(end - start),
		T(MADV_DONTNEED)), start, end);
	return 0;
}

/* What of [at, end) our images do not have; *own is a cursor into our segments. */
static int forget_missing(struct build *b, uint64_t at, uint64_t end, size_t *own, struct err *err)
{
	const struct page_segments *s = &b->pages.segments;
	int r = 0;

	while (r == 0 && at < end) {
		uint64_t to = end;

		while (*own < s->n && segment_end(&s->at[*own]) <= at)
			++*own;
		if (*own < s->n && s->at[*own].vaddr <= at) {
			at = segment_end(&s->at[*own]);
			continue;
		}
		if (*own < s->n && s->at[*own].vaddr < end)
			to = s->at[*own].vaddr;
		r = forget(b, at, to, err);
		at = to;
	}
	return r;
}

int cow_forget(struct build *b, struct err *err)
{
	const struct page_segments *theirs = b->theirs ? &b->theirs->segments : NULL;
	size_t i = 0, own = 0;

	if (!theirs)
		return 0;
	vec_each(p, &b->pieces) {
		if (!p->kept)
			continue;
		while (i < theirs->n && segment_end(&theirs->at[i]) <= p->start)
			i++;
		for (; i < theirs->n && theirs->at[i].vaddr < p->end; i++) {
			const struct page_segment *s = &theirs->at[i];
			uint64_t lo = s->vaddr > p->start ? s->vaddr : p->start;
			uint64_t hi = segment_end(s) < p->end ? segment_end(s) : p->end;
			int r = forget_missing(b, lo, hi, &own, err);

			if (r < 0)
				return r;
			if (segment_end(s) > p->end)
				break;
		}
	}
	return 0;
}

/* --------------------------------------------------------------------------------- comparison */

static int emit_range(struct build *b, const struct overlap *o, uint64_t start, uint64_t end,
	cow_emit *emit, struct err *err)
{
	struct overlap part = *o;

	if (start >= end)
		return 0;
	part.start = start;
	part.end = end;
	return emit(b, &part, err);
}

/* [start, end) lies in one segment of each side and is at most COMPARE_PAGES long. */
static int compare_view(struct build *b, const struct overlap *o, const struct page_segment *their,
	uint64_t start, uint64_t end, cow_emit *emit, struct err *err)
{
	uint64_t pages = (end - start) / PAGE, differs = start; /* [differs, at) is to be written */
	const uint8_t *mine, *old;
	int r;

	if (!b->compared)
		b->compared = malloc(2 * COMPARE_PAGES * PAGE);
	if (!b->compared)
		return err_nomem(err);
	r = page_source_view(&b->pages, o->seg, start, pages, b->compared, &mine, err);
	if (r == 0)
		r = page_source_view(b->theirs, their, start, pages,
			b->compared + COMPARE_PAGES * PAGE, &old, err);
	for (uint64_t at = start; r == 0 && at < end; at += PAGE) {
		if (memcmp(mine + (at - start), old + (at - start), PAGE))
			continue;
		b->b->pages_skipped_cow++;
		r = emit_range(b, o, differs, at, emit, err);
		differs = at + PAGE;
	}
	b->b->pages_compared += pages;
	return r < 0 ? r : emit_range(b, o, differs, end, emit, err);
}

static int compare_range(struct build *b, const struct overlap *o, const struct page_segment *their,
	uint64_t start, uint64_t end, cow_emit *emit, struct err *err)
{
	int r = 0;

	for (uint64_t to; start < end && r == 0; start = to) {
		to = end - start < COMPARE_PAGES * PAGE ? end : start + COMPARE_PAGES * PAGE;
		r = compare_view(b, o, their, start, to, emit, err);
	}
	return r;
}

int cow_compare(struct build *b, const struct overlap *o, size_t *cursor, cow_emit *emit,
	struct err *err)
{
	const struct page_segments *theirs = &b->theirs->segments;
	uint64_t at = o->start;
	int r = 0;

	while (r == 0 && at < o->end) {
		const struct page_segment *s;
		uint64_t to = o->end;

		while (*cursor < theirs->n && segment_end(&theirs->at[*cursor]) <= at)
			++*cursor;
		s = *cursor < theirs->n ? &theirs->at[*cursor] : NULL;
		if (s && s->vaddr <= at) {
			to = segment_end(s) < to ? segment_end(s) : to;
			r = compare_range(b, o, s, at, to, emit, err);
		} else {
			to = s && s->vaddr < to ? s->vaddr : to;
			r = emit_range(b, o, at, to, emit, err);
		}
		at = to;
	}
	return r;
}
