// SPDX-License-Identifier: GPL-2.0-or-later
/* Deciding, before anything happens, what becomes of every area of an address space. */
#include "kinds/mem/build.h"
#include "kinds/uring.h"
#include <sys/mman.h>

enum { BY_MEM_MIN = 1 << 30 };

enum area_class area_class_of(const VmaEntry *v)
{
	/* Rings are made, segments attached after all forks (aio.h, sysv.h). */
	if (v->status & (VMA_VSYSCALL | VMA_GUARD | VMA_UPROBES | VMA_AIORING | VMA_SYSVIPC |
		AREA_URING))
		return AREA_NONE;
	if (v->status & VMA_VDSO)
		return AREA_VDSO;
	if (v->status & VMA_VVAR)
		return AREA_VVAR;
	if (v->status & (VMA_SHSTK | VMA_EXT_PLUGIN))
		return AREA_REFUSED;
	if (v->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED | VMA_SOCKET))
		return AREA_FILE;
	if (v->status & VMA_ANON_PRIVATE)
		return AREA_ANON;
	return AREA_REFUSED;
}

static int refuse(const struct task *t, const VmaEntry *v, struct err *err)
{
	const char *what = v->status & VMA_SHSTK ? "a shadow stack" :
		v->status & VMA_EXT_PLUGIN	 ? "a device mapping of a plugin" :
		v->status & VMA_ANON_SHARED	 ? "shared memory without a descriptor" :
						   "of an unknown kind";

	return err_unsupported(err, "task %d (%s): area 0x%lx-0x%lx is %s (status 0x%x), which cannot "
		"be restored yet", t->pid, task_comm(t), v->start, v->end, what, v->status);
}

int areas_check(const struct task *t, struct err *err)
{
	const VmaEntry *last = NULL;

	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (v->status & VMA_VSYSCALL)
			continue;
		if (v->start >= v->end || v->end > USER_END || (v->start | v->end) % PAGE)
			return err_image(err, "task %d has an impossible area 0x%lx-0x%lx", t->pid,
				v->start, v->end);
		if (v->status & VMA_GUARD)
			continue;
		if (last && v->start < last->end)
			return err_image(err, "task %d: area 0x%lx-0x%lx overlaps or precedes "
				"0x%lx-0x%lx", t->pid, v->start, v->end, last->start, last->end);
		if (area_class_of(v) == AREA_REFUSED)
			return refuse(t, v, err);
		last = v;
	}
	return 0;
}

int pieces_plan(struct build *b, struct err *err)
{
	const MmEntry *theirs = b->b->inherited ? b->b->inherited->mm : NULL;
	size_t cursor = 0;

	for (size_t i = 0; i < b->mm->n_vmas; i++) {
		const VmaEntry *v = b->mm->vmas[i];
		enum area_class class = area_class_of(v);

		if (class == AREA_NONE)
			continue;
		if (class == AREA_VDSO || class == AREA_VVAR) {
			struct piece p = { .vma = v, .start = v->start, .end = v->end,
				.plain = true };

			if (b->vdso.fate == VDSO_FOREIGN)
				vec_push(&b->pieces, p);
			continue;
		}
		cow_cut(&b->pieces, v, theirs, &cursor);
	}
	return 0;
}

/* How pages get into the piece, once it is known how many there are. */
static void piece_decide(struct piece *p)
{
	bool writable = p->vma->prot & PROT_WRITE;

	if (p->kept) {
		/* few pages of a forked area differ; no need to change its protection twice */
		p->by_mem = !(p->prot_now & PROT_WRITE);
		return;
	}
	p->prot_now = p->vma->prot;
	if (!p->pages || writable)
		return;
	/*
	 * Made writable, a private area is charged against the commit limit, and one charge may
	 * not exceed the machine (vm.overcommit_memory = 0): not for a huge reservation.
	 */
	if (p->end - p->start >= BY_MEM_MIN && p->pages * PAGE < (p->end - p->start) / 2)
		p->by_mem = true;
	else
		p->prot_now |= PROT_WRITE;
}

/* The area at an address, NULL if there is none; guards, which come last, do not count. */
static const VmaEntry *area_at(const MmEntry *mm, uint64_t at)
{
	size_t lo = 0, hi = mm->n_vmas;

	while (hi && mm->vmas[hi - 1]->status & VMA_GUARD)
		hi--;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (mm->vmas[mid]->end <= at)
			lo = mid + 1;
		else if (mm->vmas[mid]->start > at)
			hi = mid;
		else
			return mm->vmas[mid];
	}
	return NULL;
}

/* Pages of rings are brought later. Returns where they end, or 0. */
static uint64_t skip_ring(const struct build *b, uint64_t at)
{
	const VmaEntry *v = b->mm->n_aios ? area_at(b->mm, at) : NULL;

	return v && v->status & VMA_AIORING ? v->end : 0;
}

/* Pages of a vdso that is not restored as memory are nobody's. Returns where they end, or 0. */
static uint64_t skip_vdso(const struct build *b, uint64_t at)
{
	const VmaEntry *code = b->vdso.code;

	if (b->vdso.fate == VDSO_FOREIGN || !code || at < code->start || at >= code->end)
		return 0;
	return code->end;
}

/* Counts the pages of [at, seg's end) that the piece has; *at moves behind them. */
static int count_in(const struct build *b, struct piece *p, struct piece *end,
	const struct page_segment *seg, uint64_t *at, struct err *err)
{
	uint64_t to = skip_vdso(b, *at);

	if (!to)
		to = skip_ring(b, *at);
	if (to) {
		*at = to;
		return 0;
	}
	if (p == end || p->start > *at)
		return err_image(err, "task %d: page 0x%lx lies outside of all areas", b->task->pid,
			*at);
	if (p->vma->status & (VMA_FILE_SHARED | VMA_SOCKET))
		return err_image(err, "task %d: page 0x%lx is in a shared area", b->task->pid, *at);
	to = segment_end(seg) < p->end ? segment_end(seg) : p->end;
	p->pages += (to - *at) / PAGE;
	*at = to;
	return 0;
}

int pieces_count(struct build *b, struct err *err)
{
	struct piece *p = b->pieces.at, *end = p + b->pieces.n;
	int r = 0;

	vec_each(seg, &b->pages.segments) {
		for (uint64_t at = seg->vaddr; r == 0 && at < segment_end(seg);) {
			while (p < end && p->end <= at)
				p++;
			r = count_in(b, p, end, seg, &at, err);
		}
		if (r < 0)
			return r;
	}
	vec_each(q, &b->pieces)
		piece_decide(q);
	return 0;
}
