// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Contents. The husk reads its pages itself: MADV_POPULATE_WRITE, then preadv(2) from the pages
 * file into up to 1024 ranges whose bytes follow each other there, one MiB at a time so that the
 * pages just zeroed by the kernel are still in the processor's cache. Measured per GiB: 0.35 s,
 * against 0.45-0.8 s for reading into fresh memory.
 *
 * Huge pages: where an area may have them they are given to complete 2 MiB runs only, because one
 * huge page for a few saved ones would cost more memory than the task had. So these runs are
 * filled first, and the rest with huge pages switched off for the task.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/mem/build.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum {
	POPULATE_MIN = 4 * PAGE, /* below that faults are cheaper than one more call */
	MADV_POPULATE_WRITE_ = 23, /* since 5.14; where it is unknown, the faults do the work */
	LATE_BUFFER = 256 * 1024,
	MAPPED_MIN = 16 * PAGE, /* --mmap: shorter runs are read */
	MAPPED_MOST = 20000, /* mappings of one task; vm.max_map_count is 65530 */
};

#define HUGE_SIZE 0x200000ul

/* ------------------------------------------------------------------------------------ gathering */

static int gather_flush(struct build *b, struct err *err)
{
	struct gather *g = &b->gather;
	struct reading reading = { .n_chunks = g->n, .bytes = g->bytes };
	uint64_t offset = g->offset;
	size_t iov;
	int r;

	if (!g->n)
		return 0;
	if (!build_layer_is_there(b, g->layer))
		return decode_gather(b, err);
	r = build_room(b, g->n * sizeof(g->iov[0]) + (GATHER_BYTES / POPULATE_MIN) * 128 + CALL_ROOM,
		err);
	if (r < 0)
		return r;
	reading.first_chunk = b->chunks.n;
	for (size_t i = 0; i < g->n; i++) {
		struct chunk c = { (uint64_t)(uintptr_t)g->iov[i].iov_base, g->iov[i].iov_len,
			g->layer, offset };

		vec_push(&b->chunks, c);
		offset += c.len;
		if (c.len >= POPULATE_MIN)
			tape_call(b->tape, "mm", 0, SYS_madvise, T(c.vaddr), T(c.len),
				T(MADV_POPULATE_WRITE_));
	}
	iov = tape_data(b->tape, g->iov, g->n * sizeof(g->iov[0]));
	reading.call = tape_call(b->tape, "mm", 0, SYS_preadv, build_layer_fd(b, g->layer),
		T_DATA(iov), T(g->n), T(g->offset), T(0));
	vec_push(&b->readings, reading);
	g->n = 0;
	g->bytes = 0;
	return 0;
}

static void gather_push(struct gather *g, uint64_t vaddr, uint64_t len)
{
	struct iovec *last = g->n ? &g->iov[g->n - 1] : NULL;

	if (last && (uint64_t)(uintptr_t)last->iov_base + last->iov_len == vaddr)
		last->iov_len += len;
	else
		g->iov[g->n++] = (struct iovec){ (void *)(uintptr_t)vaddr, len };
	g->bytes += len;
}

static int gather_add(struct build *b, uint64_t vaddr, uint64_t len, uint32_t layer,
	uint64_t offset, struct err *err)
{
	struct gather *g = &b->gather;

	while (len) {
		uint64_t take;

		if (g->n == GATHER_RANGES || g->bytes == GATHER_BYTES ||
			(g->n && (g->layer != layer || g->offset + g->bytes != offset))) {
			int r = gather_flush(b, err);

			if (r < 0)
				return r;
		}
		if (!g->n) {
			g->layer = layer;
			g->offset = offset;
		}
		take = GATHER_BYTES - g->bytes < len ? GATHER_BYTES - g->bytes : len;
		gather_push(g, vaddr, take);
		vaddr += take;
		offset += take;
		len -= take;
	}
	return 0;
}

/*
 * Whether the range can be a private mapping of the pages file (--mmap): then nothing is read until it
 * is touched. Not for areas that would lose what they are (a growing stack, those the kernel
 * wipes on fork, which only anonymous ones can be), nor for many small ones.
 */
static bool can_be_mapped(const struct build *b, const struct overlap *o)
{
	const VmaEntry *v = o->piece->vma;

	return b->b->mapped && b->n_mapped < MAPPED_MOST && !o->piece->kept && !o->piece->plain &&
		!o->piece->by_mem && o->end - o->start >= MAPPED_MIN && area_class_of(v) == AREA_ANON &&
		!vma_is_hugetlb(v) && !(v->flags & VMA_MAP_GROWSDOWN) &&
		!(v->has_madv && v->madv & 1ull << MADV_WIPEONFORK) &&
		build_layer_is_there(b, o->seg->layer);
}

static int emit_mapping(struct build *b, const struct overlap *o, uint64_t offset, struct err *err)
{
	int r = build_room(b, CALL_ROOM, err);

	if (r < 0)
		return r;
	b->n_mapped++;
	build_note(b, tape_call(b->tape, "mm", TAPE_MUST, SYS_mmap, T(o->start), T(o->end - o->start),
		T(o->piece->prot_now),
		T(MAP_PRIVATE | MAP_FIXED | (o->piece->vma->flags & VMA_MAP_NORESERVE)),
		build_layer_fd(b, o->seg->layer), T(offset)), o->start, o->end);
	map_huge_advice(b, o->piece->vma, o->start, o->end);
	return 0;
}

static int emit(struct build *b, const struct overlap *o, struct err *err)
{
	const struct page_layer *layer = &b->pages.layers.at[o->seg->layer];
	uint64_t offset = o->seg->offset + (o->start - o->seg->vaddr);
	uint64_t len = o->end - o->start;

	if (!len)
		return 0;
	b->b->pages_restored += len / PAGE;
	if (can_be_mapped(b, o))
		return emit_mapping(b, o, offset, err);
	/* a layer without descriptor is mapped (mm_legacy.c) */
	if (o->piece->by_mem || (layer->fd < 0 && !layer->filtered)) {
		struct late_write w = { o->start, len, o->seg->layer, offset };

		vec_push(&b->late, w);
		return 0;
	}
	return gather_add(b, o->start, len, o->seg->layer, offset, err);
}

/* ---------------------------------------------------------------------------------- huge pages */

static bool can_be_huge(const struct build *b, const struct piece *p)
{
	uint64_t madv = p->vma->has_madv ? p->vma->madv : 0;

	if (b->b->mapped || p->kept || p->plain || p->by_mem || !p->pages || area_class_of(p->vma) != AREA_ANON ||
		vma_is_hugetlb(p->vma) || madv & 1ull << MADV_NOHUGEPAGE)
		return false;
	return b->thp_always || madv & 1ull << MADV_HUGEPAGE;
}

static int emit_part(struct build *b, const struct overlap *o, uint64_t start, uint64_t end,
	struct err *err)
{
	struct overlap part = *o;

	part.start = start;
	part.end = end;
	return emit(b, &part, err);
}

/* Complete huge pages of the range (huge), or what is left of it. */
static int emit_class(struct build *b, const struct overlap *o, bool huge, struct err *err)
{
	uint64_t lo = (o->start + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);
	uint64_t hi = o->end & ~(HUGE_SIZE - 1);
	int r;

	if (!can_be_huge(b, o->piece) || lo >= hi)
		return huge ? 0 : emit(b, o, err);
	if (huge)
		return emit_part(b, o, lo, hi, err);
	r = emit_part(b, o, o->start, lo, err);
	return r < 0 ? r : emit_part(b, o, hi, o->end, err);
}

/* --------------------------------------------------------------------------------------- filling */

/* Every range that a segment and a piece have in common, in ascending order. */
static int fill_pass(struct build *b, bool huge, struct err *err)
{
	struct piece *p = b->pieces.at, *end = p + b->pieces.n;
	size_t cursor = 0;
	int r = 0;

	vec_each(seg, &b->pages.segments) {
		uint64_t at = seg->vaddr, seg_end = segment_end(seg);

		while (r == 0 && at < seg_end) {
			struct overlap o = { .seg = seg, .start = at };

			while (p < end && p->end <= at)
				p++;
			if (p == end || p->start >= seg_end)
				break;
			o.piece = p;
			o.start = at > p->start ? at : p->start;
			o.end = seg_end < p->end ? seg_end : p->end;
			if (!p->kept)
				r = emit_class(b, &o, huge, err);
			else if (!huge)
				r = cow_compare(b, &o, &cursor, emit, err);
			at = o.end;
		}
		if (r < 0)
			return r;
	}
	r = gather_flush(b, err);
	return r < 0 ? r : decode_settle(b, err);
}

static int set_thp(struct build *b, bool disabled, struct err *err)
{
	int r = build_room(b, CALL_ROOM, err);

	if (r == 0)
		tape_call(b->tape, "mm", TAPE_MUST, SYS_prctl, T(PR_SET_THP_DISABLE), T(disabled),
			T(0), T(0), T(0));
	return r;
}

static int fill_passes(struct build *b, struct err *err)
{
	bool huge = false;
	int r = 0;

	vec_each(p, &b->pieces)
		huge |= can_be_huge(b, p);
	if (huge) {
		r = set_thp(b, false, err);
		if (r == 0)
			r = fill_pass(b, true, err);
		if (r == 0)
			r = set_thp(b, true, err);
	}
	return r < 0 ? r : fill_pass(b, false, err);
}

/* Threads that decode live here and nowhere else: the next husk is a clone of a single thread. */
int fill_pieces(struct build *b, struct err *err)
{
	int r;

	decode_begin(b);
	r = fill_passes(b, err);
	decode_end(b);
	return r;
}

/* --------------------------------------------------------------------------- what was not read */

int fill_learn(struct build *b, struct err *err)
{
	vec_each(reading, &b->readings) {
		int64_t got = tape_result(b->tape, reading->call);
		uint64_t done = got > 0 ? (uint64_t)got : 0;
		const struct chunk *c = b->chunks.at + reading->first_chunk;

		if (done == reading->bytes)
			continue;
		for (size_t i = 0; i < reading->n_chunks; i++, c++) {
			uint64_t skip = done < c->len ? done : c->len;
			struct late_write w = { c->vaddr + skip, c->len - skip, c->layer,
				c->offset + skip };

			done -= skip;
			if (w.len)
				vec_push(&b->late, w);
		}
	}
	b->readings.n = 0;
	b->chunks.n = 0;
	return 0;
}

static int late_write(struct build *b, const struct late_write *w, uint8_t *buf, struct err *err)
{
	for (uint64_t done = 0; done < w->len;) {
		uint64_t n = w->len - done < LATE_BUFFER ? w->len - done : LATE_BUFFER;
		int r = page_layer_read(&b->pages.layers.at[w->layer], w->offset + done, n, buf, err);

		if (r < 0)
			return r;
		r = husk_write(b->husk, buf, n, w->vaddr + done);
		if (r < 0)
			return err_sysn(err, -r, "cannot write page 0x%lx of task %d",
				w->vaddr + done, b->task->pid);
		done += n;
	}
	return 0;
}

int fill_late(struct build *b, struct err *err)
{
	auto_free uint8_t *buf = NULL;
	int r = 0;

	if (!b->late.n)
		return 0;
	buf = malloc(LATE_BUFFER);
	if (!buf)
		return err_nomem(err);
	vec_each(w, &b->late) {
		r = late_write(b, w, buf, err);
		if (r < 0)
			return r;
	}
	return 0;
}
