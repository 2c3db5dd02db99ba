// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a parent leaves to the tasks forked from it. A page that several children have in common
 * while the parent's has changed since (or is gone) was shared by the children; if the parent's husk
 * had its own contents when they are forked, each child would get a copy. So, where more of its
 * children agree on other contents than there are users of the parent's own, the husk is filled
 * with theirs first, and the parent gets its own pages after all forks, as it did in its life.
 *
 *   mm_build(parent): legacy_plan votes, b->pages becomes what the husk holds while it forks
 *   mm_build(child):  compares with exactly that (legacy_find)
 *   mm_finish(parent): legacy_settle writes what is the parent's own
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kinds/mem/build.h"
#include "pages/fingerprint.h"
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { VIEW_PAGES = 64 };

/* Contents of one page, by place and fingerprint; not there: what the mapping gives. */
struct content {
	bool there;
	uint32_t layer;
	uint64_t offset;
	uint8_t print[FINGERPRINT_BYTES];
};

/* A page which a child has otherwise than its parent. */
struct dissent {
	uint64_t vaddr;
	struct content theirs, own;
};

struct dissents vec_of(struct dissent);

/* A page that the parent gets after the forks. */
struct debt {
	uint64_t vaddr;
	bool there;
	uint32_t layer;
	uint64_t offset;
};

struct legacy {
	struct page_source pages; /* what the husk holds while it forks */
	struct vec_of(struct debt) debts;
};

struct mm_legacies {
	struct fingerprint_key key;
	bool has_key;
	struct table by_pid;
	struct vec_of(struct legacy *) all;
};

struct mm_legacies *mm_legacies_new(void)
{
	struct mm_legacies *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	return l;
}

static void legacy_clear(struct legacy *x)
{
	page_source_close(&x->pages);
	vec_done(&x->debts);
}

void mm_legacies_free(struct mm_legacies *l)
{
	if (!l)
		return;
	vec_each(x, &l->all) {
		legacy_clear(*x);
		free(*x);
	}
	vec_done(&l->all);
	table_done(&l->by_pid);
	free(l);
}

static struct legacy *find(const struct mm_legacies *l, const struct task *t)
{
	return l && t ? table_get(&l->by_pid, (uint64_t)t->pid) : NULL;
}

struct page_source *legacy_find(const struct mm_build *mb)
{
	struct legacy *x = find(mb->legacies, mb->inherited);

	return x ? &x->pages : NULL;
}

/* ------------------------------------------------------------------------------------ dissent */

static bool same(const struct content *a, const struct content *b)
{
	return a->there == b->there && (!a->there || !memcmp(a->print, b->print, FINGERPRINT_BYTES));
}

/* The segment that covers `at`, or NULL and in *ret_next where the next one starts. */
static const struct page_segment *segment_at(const struct page_segments *s, size_t *cursor,
	uint64_t at, uint64_t *ret_next)
{
	while (*cursor < s->n && segment_end(&s->at[*cursor]) <= at)
		++*cursor;
	*ret_next = *cursor < s->n ? s->at[*cursor].vaddr : UINT64_MAX;
	if (*ret_next > at)
		return NULL;
	*ret_next = segment_end(&s->at[*cursor]);
	return &s->at[*cursor];
}

/* One side of a comparison: a source and, within the range, its segment or NULL. */
struct side {
	struct page_source *src;
	const struct page_segment *seg;
	uint8_t *buf; /* for VIEW_PAGES */
	const uint8_t *bytes; /* of the pages from the start of the view on */
};

static int side_view(struct side *s, uint64_t at, uint64_t pages, struct err *err)
{
	return s->seg ? page_source_view(s->src, s->seg, at, pages, s->buf, &s->bytes, err) : 0;
}

/* Contents of page `at`; the view begins `skip` bytes before. */
static struct content content_of(const struct fingerprint_key *k, const struct side *s, uint64_t at,
	uint64_t skip)
{
	struct content c = { .there = s->seg };

	if (!s->seg)
		return c;
	c.layer = s->seg->layer;
	c.offset = s->seg->offset + (at - s->seg->vaddr);
	page_fingerprint(k, s->bytes + skip, c.print);
	return c;
}

static int compare_view(const struct fingerprint_key *k, struct side *child, struct side *own,
	uint64_t at, uint64_t pages, struct dissents *out, struct err *err)
{
	int r = side_view(child, at, pages, err);

	if (r == 0)
		r = side_view(own, at, pages, err);
	for (uint64_t skip = 0; r == 0 && skip < pages * PAGE; skip += PAGE) {
		struct dissent d = { .vaddr = at + skip };

		if (child->seg && own->seg &&
			!memcmp(child->bytes + skip, own->bytes + skip, PAGE))
			continue;
		d.theirs = content_of(k, child, at + skip, skip);
		d.own = content_of(k, own, at + skip, skip);
		vec_push(out, d);
	}
	return r;
}

/* Pages of [at, end) which differ; cursors into the child's segments and ours. */
static int compare(const struct fingerprint_key *k, struct side *child, struct side *own, uint64_t at,
	uint64_t end, size_t cursors[2], struct dissents *out, struct err *err)
{
	int r = 0;

	while (at < end && r == 0) {
		uint64_t next[2], to;

		child->seg = segment_at(&child->src->segments, &cursors[0], at, &next[0]);
		own->seg = segment_at(&own->src->segments, &cursors[1], at, &next[1]);
		to = next[0] < next[1] ? next[0] : next[1];
		to = to < end ? to : end;
		while ((child->seg || own->seg) && at < to && r == 0) {
			uint64_t pages = (to - at) / PAGE;

			pages = pages < VIEW_PAGES ? pages : VIEW_PAGES;
			r = compare_view(k, child, own, at, pages, out, err);
			at += pages * PAGE;
		}
		at = to;
	}
	return r;
}

/* A child's layers join ours, so that its pages can become part of what we restore. */
static uint32_t adopt_layers(struct page_source *own, struct page_source *child)
{
	uint32_t first = (uint32_t)own->layers.n;

	vec_each(l, &child->layers) {
		struct page_layer layer = { .fd = -1, .len = l->len, .map = l->map,
			.filtered = l->filtered };

		vec_push(&own->layers, layer);
		l->map = NULL;
		l->filtered = NULL;
	}
	return first;
}

static int compare_pieces(struct build *b, struct page_source *child, const struct pieces *pieces,
	struct dissents *out, struct err *err)
{
	auto_free uint8_t *buf = malloc(2 * VIEW_PAGES * PAGE);
	struct side theirs = { .src = child, .buf = buf };
	struct side own = { .src = &b->pages, .buf = buf + VIEW_PAGES * PAGE };
	size_t cursors[2] = { 0, 0 };
	int r = buf ? 0 : err_nomem(err);

	vec_each(p, pieces) {
		if (p->kept && r == 0)
			r = compare(&b->b->legacies->key, &theirs, &own, p->start, p->end, cursors,
				out, err);
	}
	return r;
}

static int hear_child(struct build *b, const struct task *child, struct dissents *out,
	struct err *err)
{
	size_t cursor = 0, first = out->n;
	struct page_source src;
	struct pieces pieces = { 0 };
	uint32_t layer;
	int r = page_source_open(b->b->images, IMG_PAGEMAP, (unsigned long)child->pid, &src, err);

	if (r == 0)
		r = page_source_map(&src, err);
	for (size_t i = 0; r == 0 && i < child->mm->n_vmas; i++) {
		if (area_class_of(child->mm->vmas[i]) != AREA_NONE)
			cow_cut(&pieces, child->mm->vmas[i], b->mm, &cursor);
	}
	if (r == 0)
		r = compare_pieces(b, &src, &pieces, out, err);
	vec_done(&pieces);
	page_source_forget(&src);
	layer = r == 0 && out->n > first ? adopt_layers(&b->pages, &src) : 0;
	for (size_t i = first; i < out->n; i++)
		out->at[i].theirs.layer += layer;
	page_source_close(&src);
	return r;
}

/* -------------------------------------------------------------------------------------- voting */

static int by_address(const void *a, const void *b)
{
	const struct dissent *x = a, *y = b;

	return x->vaddr < y->vaddr ? -1 : x->vaddr > y->vaddr;
}

/* The contents most of the n have, if more than half of them (Boyer and Moore), and how many. */
static const struct dissent *majority(const struct dissent *d, size_t n, size_t *ret_votes)
{
	const struct dissent *best = d;
	size_t lead = 0;

	for (size_t i = 0; i < n; i++) {
		if (!lead)
			best = &d[i];
		if (same(&best->theirs, &d[i].theirs))
			lead++;
		else
			lead--;
	}
	*ret_votes = 0;
	for (size_t i = 0; i < n; i++)
		*ret_votes += same(&best->theirs, &d[i].theirs);
	return best;
}

/* What the husk has inherited at this place. */
static int content_inherited(struct build *b, uint64_t at, size_t *cursor, struct content *ret,
	struct err *err)
{
	uint8_t page[PAGE];
	struct side side = { .src = b->theirs, .buf = page };
	uint64_t next;
	int r;

	side.seg = segment_at(&b->theirs->segments, cursor, at, &next);
	r = side_view(&side, at, 1, err);
	if (r == 0)
		*ret = content_of(&b->b->legacies->key, &side, at, 0);
	return r;
}

/* What is inherited costs nothing to pass on. *ret is NULL if our own contents stay. */
static int decide(struct build *b, const struct dissent *d, size_t n, size_t heirs,
	size_t *cursor, const struct dissent **ret, struct err *err)
{
	size_t votes, own = 1 + heirs - n;
	const struct dissent *best = majority(d, n, &votes);
	struct content had;

	if (b->theirs) {
		int r = content_inherited(b, d->vaddr, cursor, &had, err);

		if (r < 0)
			return r;
		votes += same(&had, &best->theirs);
		own += same(&had, &d->own);
	}
	*ret = votes > own ? best : NULL;
	return 0;
}

static void segments_put(struct page_segments *out, uint64_t vaddr, uint64_t pages,
	uint32_t layer, uint64_t offset)
{
	struct page_segment *last = out->n ? &out->at[out->n - 1] : NULL;
	struct page_segment s = { .vaddr = vaddr, .pages = pages, .offset = offset, .layer = layer };

	if (last && last->layer == layer && segment_end(last) == vaddr &&
		last->offset + last->pages * PAGE == offset)
		last->pages += pages;
	else
		vec_push(out, s);
}

/* Our segments up to `end`, from *at on; *i is the first one that reaches further. */
static void copy_until(const struct page_segments *from, size_t *i, uint64_t *at, uint64_t end,
	struct page_segments *out)
{
	while (*i < from->n && from->at[*i].vaddr < end) {
		const struct page_segment *s = &from->at[*i];
		uint64_t lo = s->vaddr > *at ? s->vaddr : *at;
		uint64_t hi = segment_end(s) < end ? segment_end(s) : end;

		if (lo < hi)
			segments_put(out, lo, (hi - lo) / PAGE, s->layer,
				s->offset + (lo - s->vaddr));
		if (segment_end(s) > end)
			break;
		++*i;
	}
	*at = end;
}

/* Replaces pages of b->pages by what wins the vote; the replaced ones are the legacy's debts. */
static int apply(struct build *b, struct legacy *x, struct dissents *all, size_t heirs,
	struct err *err)
{
	struct page_segments out = { 0 };
	size_t cursor = 0, i = 0;
	uint64_t at = 0;
	int r = 0;

	if (all->n)
		qsort(all->at, all->n, sizeof(*all->at), by_address);
	for (size_t from = 0, to; from < all->n && r == 0; from = to) {
		const struct dissent *d = &all->at[from], *best = NULL;
		struct debt debt = { d->vaddr, d->own.there, d->own.layer, d->own.offset };

		for (to = from; to < all->n && all->at[to].vaddr == d->vaddr; to++)
			;
		r = decide(b, d, to - from, heirs, &cursor, &best, err);
		if (r < 0 || !best)
			continue;
		copy_until(&b->pages.segments, &i, &at, d->vaddr, &out);
		if (best->theirs.there)
			segments_put(&out, d->vaddr, 1, best->theirs.layer, best->theirs.offset);
		at = d->vaddr + PAGE;
		vec_push(&x->debts, debt);
	}
	copy_until(&b->pages.segments, &i, &at, UINT64_MAX, &out);
	vec_done(&b->pages.segments);
	b->pages.segments = out;
	return r;
}

/* ------------------------------------------------------------------------------------ planning */

int legacy_plan(struct build *b, struct err *err)
{
	struct mm_legacies *l = b->b->legacies;
	struct dissents all = { 0 };
	struct legacy *x;
	size_t heirs = 0;
	int r = 0;

	task_each_child(c, b->task)
		heirs += l && mm_inherits(c, b->task);
	if (!heirs || (heirs == 1 && !b->theirs))
		return 0;
	r = page_source_map(&b->pages, err);
	if (r == 0 && !l->has_key) {
		r = fingerprint_key_make(&l->key, err);
		l->has_key = true;
	}
	task_each_child(c, b->task) {
		if (r == 0 && mm_inherits(c, b->task))
			r = hear_child(b, c, &all, err);
	}
	if (r == 0) {
		x = calloc(1, sizeof(*x));
		if (!x)
			abort();
		vec_push(&l->all, x);
		table_put(&l->by_pid, (uint64_t)b->task->pid, x);
		r = apply(b, x, &all, heirs, err);
	}
	vec_done(&all);
	return r;
}

void legacy_keep(struct build *b)
{
	struct legacy *x = find(b->b->legacies, b->task);

	if (!x)
		return;
	page_source_close_files(&b->pages);
	page_source_forget(&b->pages);
	x->pages = b->pages;
	b->pages = (struct page_source){ 0 };
}

/* ------------------------------------------------------------------------------------ settling */

static int settle_bytes(struct mm_build *b, struct legacy *x, const struct debt *d, size_t n,
	struct err *err)
{
	auto_free uint8_t *buf = malloc(VIEW_PAGES * PAGE);
	int r = buf ? 0 : err_nomem(err);

	for (size_t done = 0, some; done < n && r == 0; done += some) {
		some = n - done < VIEW_PAGES ? n - done : VIEW_PAGES;
		r = page_layer_read(&x->pages.layers.at[d->layer], d->offset + done * PAGE,
			some * PAGE, buf, err);
		if (r < 0)
			return r;
		r = husk_write(b->husk, buf, some * PAGE, d->vaddr + done * PAGE);
		if (r < 0)
			return err_sysn(err, -r, "cannot write page 0x%lx of task %d", d->vaddr,
				b->task->pid);
	}
	b->pages_restored += n;
	return r;
}

static int settle_run(struct mm_build *b, struct legacy *x, struct tape *t, const struct debt *d,
	size_t n, struct err *err)
{
	int r;

	if (d->there)
		return settle_bytes(b, x, d, n, err);
	tape_call(t, "mm", TAPE_MUST, SYS_madvise, T(d->vaddr), T(n * PAGE), T(MADV_DONTNEED));
	r = tape_size(t) + CALL_ROOM > HUSK_TAPE_MAX ? husk_play(b->husk, 0, t, err) : 0;
	if (r == 0 && tape_size(t) + CALL_ROOM > HUSK_TAPE_MAX)
		tape_reset(t);
	return r;
}

/* Whether e is what follows d after n pages. */
static bool follows(const struct debt *d, size_t n, const struct debt *e)
{
	return e->vaddr == d->vaddr + n * PAGE && e->there == d->there &&
		(!d->there || (e->layer == d->layer && e->offset == d->offset + n * PAGE));
}

int legacy_settle(struct mm_build *b, struct err *err)
{
	struct legacy *x = find(b->legacies, b->task);
	struct tape *t;
	int r = 0;

	if (!x)
		return 0;
	t = tape_new();
	for (size_t i = 0, n; r == 0 && i < x->debts.n; i += n) {
		const struct debt *d = &x->debts.at[i];

		for (n = 1; i + n < x->debts.n && follows(d, n, &d[n]); n++)
			;
		r = settle_run(b, x, t, d, n, err);
	}
	if (r == 0 && tape_calls(t))
		r = husk_play(b->husk, 0, t, err);
	tape_free(t);
	legacy_clear(x);
	return r < 0 ? err_while(err, "settling pages shared by children") : 0;
}
