// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Areas: what is in the way goes, what is missing is mapped, and at the end every piece gets its
 * final protection. Files reach the husk in stretches: as many pieces as need at most
 * HUSK_SEND_MAX descriptors are mapped, then their descriptors are closed again.
 */
#include "kinds/mem/build.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------------------------------ clearing */

static int clear_gap(struct build *b, uint64_t start, uint64_t end, struct err *err)
{
	const struct husk_layout *l = b->husk->layout;
	uint64_t area_end = l->area + l->area_len;
	size_t call;
	int r;

	if (start < l->area && end > area_end) {
		r = clear_gap(b, start, l->area, err);
		return r < 0 ? r : clear_gap(b, area_end, end, err);
	}
	if (start >= l->area && start < area_end)
		start = area_end;
	if (end > l->area && end <= area_end)
		end = l->area;
	if (start >= end)
		return 0;
	r = build_room(b, CALL_ROOM, err);
	if (r < 0)
		return r;
	call = tape_call(b->tape, "mm", TAPE_MUST, SYS_munmap, T(start), T(end - start));
	build_note(b, call, start, end);
	return 0;
}

/* Whatever is not kept goes (inherited address spaces only); the vdso waits in the area. */
static int map_clear(struct build *b, struct err *err)
{
	uint64_t at = 0;
	int r = vdso_park(b, err);

	if (r < 0 || !b->b->inherited)
		return r;
	vec_each(p, &b->pieces) {
		if (!p->kept)
			continue;
		r = clear_gap(b, at, p->start, err);
		if (r < 0)
			return r;
		at = p->end;
	}
	return clear_gap(b, at, USER_END, err);
}

/* ----------------------------------------------------------------------------------- mapping */

static bool needs_file(const struct piece *p)
{
	return !p->kept && !p->plain && area_class_of(p->vma) == AREA_FILE;
}

static int open_mode(const VmaEntry *v)
{
	if (v->has_fdflags)
		return (int)(v->fdflags & O_ACCMODE);
	return v->status & VMA_FILE_SHARED && v->prot & PROT_WRITE ? O_RDWR : O_RDONLY;
}

static uint64_t file_key(const VmaEntry *v)
{
	return table_key(v->shmid, (uint64_t)open_mode(v) + 1);
}

/* Collects the descriptors for pieces from `from` on; *ret_to is the first one left out. */
static int stretch_open(struct build *b, struct piece *from, struct table *slots,
	struct piece **ret_to, struct err *err)
{
	struct piece *end = b->pieces.at + b->pieces.n, *p;
	int r;

	for (p = from; p < end; p++) {
		if (!needs_file(p) || table_get(slots, file_key(p->vma)))
			continue;
		if (b->n_fds == HUSK_SEND_MAX)
			break;
		if (p->vma->shmid > UINT32_MAX)
			return err_image(err, "area 0x%lx-0x%lx maps file %lu, which cannot be",
				p->start, p->end, p->vma->shmid);
		r = file_store_get_for_map(b->b->files, (uint32_t)p->vma->shmid, open_mode(p->vma),
			&b->fds[b->n_fds], err);
		if (r < 0)
			return err_while(err, "mapping 0x%lx-0x%lx", p->start, p->end);
		b->n_fds++;
		table_put(slots, file_key(p->vma), (void *)(uintptr_t)b->n_fds);
	}
	*ret_to = p;
	return 0;
}

static int stretch_send(struct build *b, bool first, struct err *err)
{
	int r = build_room(b, b->n_fds * 128, err);

	b->b->borrowed = b->n_fds;
	for (size_t i = first ? 0 : b->lasting; i < b->n_fds && r == 0; i++)
		b->taken[i] = 1 + tape_take(b->tape, b->husk->lender_fd, b->fds[i]);
	return r;
}

static unsigned map_flags(const struct piece *p)
{
	const unsigned hugetlb = VMA_MAP_HUGETLB | 0x3fu << VMA_MAP_HUGE_SHIFT;
	unsigned f = p->vma->flags, flags = MAP_FIXED_NOREPLACE;

	if (p->plain)
		return flags | MAP_PRIVATE | MAP_ANONYMOUS;
	/* with MAP_FIXED a stack gets exactly its range and grows by later faults only */
	flags |= f & (VMA_MAP_NORESERVE | VMA_MAP_GROWSDOWN);
	if (area_class_of(p->vma) == AREA_FILE)
		return flags | (p->vma->status & (VMA_FILE_SHARED | VMA_SOCKET) ? MAP_SHARED : MAP_PRIVATE);
	if (f & VMA_MAP_HUGETLB)
		flags |= f & hugetlb;
	return flags | MAP_ANONYMOUS |
		(f & VMA_MAP_DROPPABLE ? VMA_MAP_DROPPABLE : (unsigned)MAP_PRIVATE);
}

/*
 * The part of a stack below what was inherited. A fault there extends the inherited area, so that
 * it stays one; time(2) writes to the address it is given. Where that fails the range is mapped.
 */
static void map_grow(struct build *b, const struct piece *p)
{
	tape_call(b->tape, "mm", 0, SYS_time, T(p->start));
	tape_call(b->tape, "mm", 0, SYS_madvise, T(p->start), T(PAGE), T(MADV_DONTNEED));
}

void map_huge_advice(struct build *b, const VmaEntry *v, uint64_t start, uint64_t end)
{
	if (v->has_madv && v->madv & (1ull << MADV_HUGEPAGE | 1ull << MADV_NOHUGEPAGE))
		tape_call(b->tape, "mm", 0, SYS_madvise, T(start), T(end - start),
			T(v->madv & 1ull << MADV_HUGEPAGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
}

static int map_piece(struct build *b, const struct piece *p, const struct table *slots,
	struct err *err)
{
	const VmaEntry *v = p->vma;
	int r = build_room(b, CALL_ROOM, err);
	bool file = needs_file(p);
	size_t call;
	struct tape_arg fd = T(-1);

	if (r < 0)
		return r;
	if (p->grows)
		map_grow(b, p);
	if (file)
		fd = build_fd(b, (uintptr_t)table_get(slots, file_key(v)) - 1);
	call = tape_call(b->tape, "mm", p->grows ? 0 : TAPE_MUST, SYS_mmap, T(p->start),
		T(p->end - p->start), T(p->prot_now), T(map_flags(p)), fd,
		T(file ? v->pgoff + (p->start - v->start) : 0));
	build_note(b, call, p->start, p->end);
	b->notes.at[b->notes.n - 1].may_exist = p->grows;
	b->notes.at[b->notes.n - 1].huge = vma_is_hugetlb(v) ? vma_page_size(v) : 0;
	map_huge_advice(b, v, p->start, p->end);
	return 0;
}

static int stretch_map(struct build *b, struct piece *from, struct piece *to,
	const struct table *slots, struct err *err)
{
	for (struct piece *p = from; p < to; p++) {
		int r = p->kept ? 0 : map_piece(b, p, slots, err);

		if (r < 0)
			return r;
	}
	for (size_t i = b->lasting; i < b->n_fds; i++) {
		int r = build_room(b, CALL_ROOM, err);

		if (r < 0)
			return r;
		tape_call(b->tape, "mm", 0, SYS_close, build_fd(b, i));
		b->taken[i] = 0;
	}
	b->n_fds = b->lasting;
	return 0;
}

int map_pieces(struct build *b, struct err *err)
{
	struct piece *end = b->pieces.at + b->pieces.n, *p = b->pieces.at, *to = p;
	bool first = true;
	int r;

	do {
		struct table slots = { 0 };

		/* what was borrowed before, also by others, may be closed by this stretch */
		r = first ? 0 : build_play(b, err);
		if (r == 0 && !first)
			r = husk_settle(b->queue, err);
		if (r == 0)
			r = stretch_open(b, p, &slots, &to, err);
		if (r == 0)
			r = stretch_send(b, first, err);
		if (r == 0 && first)
			r = map_clear(b, err);
		if (r == 0 && first)
			r = build_numbers(b, err);
		if (r == 0)
			r = stretch_map(b, p, to, &slots, err);
		table_done(&slots);
		first = false;
		p = to;
	} while (r == 0 && p < end);
	return r;
}

/* -------------------------------------------------------------------------------- protection */

int map_protect(struct build *b, struct err *err)
{
	vec_each(p, &b->pieces) {
		size_t call;
		int r;

		if (p->prot_now == p->vma->prot)
			continue;
		r = build_room(b, CALL_ROOM, err);
		if (r < 0)
			return r;
		call = tape_call(b->tape, "mm", TAPE_MUST, SYS_mprotect, T(p->start),
			T(p->end - p->start), T(p->vma->prot));
		build_note(b, call, p->start, p->end);
	}
	return 0;
}
