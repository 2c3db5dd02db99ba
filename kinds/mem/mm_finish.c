// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an address space gets after all forks: what fork(2) does not hand on (locks), what would keep
 * it from handing on (MADV_DONTFORK, WIPEONFORK), guard ranges, and at the very end seals, which
 * forbid every further change.
 */
#include "kinds/mem/aio.h"
#include "kinds/mem/build.h"
#include "kinds/sysv.h"
#include <sys/mman.h>
#include <sys/syscall.h>

/* Newer than the headers this is built with. */
enum { ADVICE_GUARD_INSTALL = 102 /* 6.13 */, SYS_MSEAL = 462 /* 6.10 */ };

/* A call of the tape and the range it is about, for messages. */
struct finish_call {
	size_t call;
	const VmaEntry *v;
};

struct finish {
	const struct mm_build *b;
	struct tape *tape;
	struct vec_of(struct finish_call) calls;
};

static int finish_play(struct finish *f, struct err *err)
{
	int r;

	if (!tape_calls(f->tape))
		return 0;
	r = husk_play(f->b->husk, 0, f->tape, err);
	vec_each(c, &f->calls) {
		int64_t got = tape_result(f->tape, c->call);

		if (r < 0 && got < 0 && got > -4096) {
			r = err_while(err, "finishing area 0x%lx-0x%lx", c->v->start, c->v->end);
			break;
		}
	}
	f->calls.n = 0;
	tape_reset(f->tape);
	return r;
}

/* nr(start, length, arg) on an area. */
static int finish_call(struct finish *f, const VmaEntry *v, unsigned flags, long nr, int arg,
	struct err *err)
{
	struct finish_call c = { .v = v };
	int r = tape_size(f->tape) + CALL_ROOM > HUSK_TAPE_MAX ? finish_play(f, err) : 0;

	if (r < 0)
		return r;
	c.call = tape_call(f->tape, "mm", flags, nr, T(v->start), T(v->end - v->start), T(arg));
	if (flags & TAPE_MUST)
		vec_push(&f->calls, c);
	return 0;
}

/* Advice that changes what the task sees must be taken; hints need not (kernels without KSM). */
static int finish_advice(struct finish *f, const VmaEntry *v, struct err *err)
{
	static const struct {
		int advice;
		unsigned flags;
	} table[] = {
		{ MADV_RANDOM, 0 }, { MADV_SEQUENTIAL, 0 }, { MADV_MERGEABLE, 0 },
		{ MADV_DONTFORK, TAPE_MUST }, { MADV_DONTDUMP, TAPE_MUST },
		{ MADV_WIPEONFORK, TAPE_MUST },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && v->has_madv && i < sizeof(table) / sizeof(*table); i++) {
		if (v->madv & 1ull << table[i].advice)
			r = finish_call(f, v, table[i].flags, SYS_madvise, table[i].advice, err);
	}
	return r;
}

static VmaEntry *find_area(const MmEntry *mm, uint64_t start)
{
	size_t lo = 0, hi = mm->n_vmas;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		/* guard entries stand behind the others; they end the ordered part */
		if (mm->vmas[mid]->status & VMA_GUARD || mm->vmas[mid]->start > start)
			hi = mid;
		else if (mm->vmas[mid]->start < start)
			lo = mid + 1;
		else
			return mm->vmas[mid];
	}
	return NULL;
}

/*
 * mlock2(MLOCK_ONFAULT) sets the lock and tells of limits; mlock(2) after it brings the pages. The
 * second one fails where a page cannot be had (no access, behind the end of a file, a guard page):
 * that was so before, too, and the lock stands.
 */
static int finish_lock(struct finish *f, const VmaEntry *v, bool on_fault, struct err *err)
{
	int r = finish_call(f, v, TAPE_MUST, SYS_mlock2, MLOCK_ONFAULT, err);

	return r < 0 || on_fault ? r : finish_call(f, v, 0, SYS_mlock, 0, err);
}

static const TorporAreaEntry *find_extra(const struct task *t, const VmaEntry *v, size_t *cursor)
{
	const TorporTaskEntry *x = t->extra;

	while (x && *cursor < x->n_areas && x->areas[*cursor]->start < v->start)
		++*cursor;
	return x && *cursor < x->n_areas && x->areas[*cursor]->start == v->start ?
		x->areas[*cursor] : NULL;
}

static int finish_seals(struct finish *f, const struct task *t, struct err *err)
{
	const TorporTaskEntry *x = t->extra;
	int r = 0;

	for (size_t i = 0; r == 0 && x && i < x->n_areas; i++) {
		const VmaEntry *v;

		if (!x->areas[i]->has_sealed || !x->areas[i]->sealed)
			continue;
		v = find_area(t->mm, x->areas[i]->start);
		if (!v)
			return err_image(err, "task %d: there is no area at 0x%lx to be sealed",
				t->pid, x->areas[i]->start);
		r = finish_call(f, v, TAPE_MUST, SYS_MSEAL, 0, err);
	}
	return r;
}

static bool is_plain_area(const VmaEntry *v)
{
	enum area_class class = area_class_of(v);

	return class == AREA_ANON || class == AREA_FILE;
}

static int finish(struct finish *f, const struct task *t, struct err *err)
{
	const MmEntry *mm = t->mm;
	size_t cursor = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < mm->n_vmas; i++) {
		if (is_plain_area(mm->vmas[i]))
			r = finish_advice(f, mm->vmas[i], err);
	}
	/* a locked area takes no guards, so these come before the locks */
	for (size_t i = 0; r == 0 && i < mm->n_vmas; i++) {
		if (mm->vmas[i]->status & VMA_GUARD)
			r = finish_call(f, mm->vmas[i], TAPE_MUST, SYS_madvise,
				ADVICE_GUARD_INSTALL, err);
	}
	for (size_t i = 0; r == 0 && i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		const TorporAreaEntry *extra;

		if (!is_plain_area(v) || !(v->flags & VMA_MAP_LOCKED))
			continue;
		extra = find_extra(t, v, &cursor);
		r = finish_lock(f, v, extra && extra->lock_on_fault, err);
	}
	if (r == 0)
		r = finish_seals(f, t, err);
	return r < 0 ? r : finish_play(f, err);
}

static int attach_segments(const struct mm_build *b, struct err *err)
{
	const MmEntry *mm = b->task->mm;
	struct table segments = { 0 };
	int r = 0;

	for (size_t i = 0; i < mm->n_vmas && r == 0; i++) {
		if (!(mm->vmas[i]->status & VMA_SYSVIPC))
			continue;
		if (!segments.n)
			sysv_index_segments(b->world, &segments);
		r = sysv_attach(&segments, b->husk, mm->vmas[i], err);
	}
	table_done(&segments);
	return r;
}

int mm_finish(struct mm_build *b, struct err *err)
{
	struct finish f = { .b = b, .tape = tape_new() };
	int r = legacy_settle(b, err);

	if (r == 0)
		r = attach_segments(b, err);
	if (r == 0)
		r = aio_finish(b, err);
	if (r == 0)
		r = finish(&f, b->task, err);
	tape_free(f.tape);
	vec_done(&f.calls);
	return r < 0 ? err_while(err, "finishing the memory of task %d", b->task->pid) : 0;
}
