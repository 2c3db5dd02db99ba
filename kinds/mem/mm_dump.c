// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which pages of an address space are saved, and by which road they are read.
 *
 * Saved is what a new mapping would not give back: pages that are there (or swapped out) in private
 * areas, of file mappings only the private copies. Not saved: holes, the zero page and pages of
 * zeros in anonymous memory, guard regions (whose marks look like swap). What the task may not read
 * itself is saved, too.
 */
#include "base/vec.h"
#include "kernel/pagemap.h"
#include "kernel/smaps.h"
#include "kinds/mem/changes.h"
#include "kinds/mem/vma.h"
#include "pages/feed.h"
#include "pages/out.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
	WINDOW_PAGES = 8192, /* of the page map, read at once */
	WINDOW_GAP = 64, /* holes of so many pages are read over */
	MARKS = 256, /* entries looked at together */
	ABSORB = 8, /* a few exclusive pages after shared ones take the same road */
};

struct task_spans vec_of(struct task_span);
struct addresses vec_of(uint64_t);

struct picker {
	const struct task *task;
	pid_t tid;
	struct page_scanner scanner;
	VmaEntry **areas; /* those with pages, ascending */
	bool *resident;
	size_t n_areas, at; /* area the scan has reached */
	struct addresses stacks; /* pages with a thread's stack pointer, ascending */
	size_t stack_at;
	struct changes changes;
	uint32_t lazy; /* flags of what may come later */
	struct task_spans candidates; /* before the road is chosen */
	struct task_spans spans;
	uint64_t scanned;
};

/* ----------------------------------------------------------------------- what is saved */

static bool is_wanted(const VmaEntry *v, unsigned is)
{
	if (is & PAGE_GUARD)
		return false;
	if (v->status & VMA_FILE_PRIVATE)
		return !(is & PAGE_FILE);
	return !(is & PAGE_PFNZERO);
}

static void push_span(struct picker *p, const VmaEntry *v, uint64_t start, uint64_t end,
	uint32_t flags)
{
	struct task_span span = { start, end, flags, v->prot & 1 && !vma_is_vdso(v),
		vma_is_anon_private(v) };

	if (end > start)
		vec_push(&p->candidates, span);
}

/* What the parent images have as it is need not be read. */
static void push_changes(struct picker *p, const VmaEntry *v, uint64_t start, uint64_t end,
	uint32_t flags)
{
	for (uint64_t to; start < end; start = to) {
		bool same = changes_next(&p->changes, start, end, &to);
		struct task_span told = { .start = start, .end = to, .flags = RUN_PARENT };

		if (same)
			vec_push(&p->candidates, told);
		else
			push_span(p, v, start, to, flags);
	}
}

/* What a lazy restore may bring later, but for the pages the threads will need at once. */
static void push_lazy(struct picker *p, const VmaEntry *v, uint64_t start, uint64_t end)
{
	const uint64_t size = vma_page_size(v);

	while (p->stack_at < p->stacks.n && p->stacks.at[p->stack_at] < start)
		p->stack_at++;
	for (; p->stack_at < p->stacks.n && p->stacks.at[p->stack_at] < end; p->stack_at++) {
		uint64_t page = p->stacks.at[p->stack_at] / size * size;

		if (page < start) /* the one before has the same huge page */
			continue;
		push_changes(p, v, start, page, p->lazy);
		push_changes(p, v, page, page + size, RUN_PRESENT);
		start = page + size;
	}
	push_changes(p, v, start, end, p->lazy);
}

/*
 * In file mappings "swapped" may also be the mark that is left of a write protection when the private
 * copy was dropped (MADV_DONTNEED): then the page is as in the file, though nobody wrote to it.
 * Where marks cannot be told, these pages are saved, and never taken for unchanged.
 */
static int push_swapped(struct picker *p, const VmaEntry *v, uint64_t start, uint64_t end,
	struct err *err)
{
	uint64_t bits[MARKS];

	while (start < end) {
		size_t n = (end - start) / PAGE < MARKS ? (end - start) / PAGE : MARKS;
		int rc = page_bits(&p->scanner, start, n, bits, err);

		if (rc < 0)
			return rc;
		for (size_t i = 0; i < n; i++, start += PAGE)
			if (!pagemap_is_mark(bits[i]))
				push_span(p, v, start, start + PAGE, RUN_PRESENT);
	}
	return 0;
}

/* A span may reach over several areas, wanted and other ones. */
static int pick_span(const struct page_span *span, void *data, struct err *err)
{
	struct picker *p = data;
	int rc = 0;

	while (p->at < p->n_areas && p->areas[p->at]->end <= span->start)
		p->at++;
	for (size_t i = p->at; rc == 0 && i < p->n_areas && p->areas[i]->start < span->end; i++) {
		const VmaEntry *v = p->areas[i];
		uint64_t start = span->start > v->start ? span->start : v->start;
		uint64_t end = span->end < v->end ? span->end : v->end;

		if (vma_is_vdso(v) || !p->resident[i])
			continue;
		p->scanned += (end - start) / PAGE;
		if (!is_wanted(v, span->is))
			continue;
		if (vma_can_be_lazy(v))
			push_lazy(p, v, start, end);
		else if (v->status & VMA_FILE_PRIVATE && !(span->is & PAGE_PRESENT))
			rc = push_swapped(p, v, start, end, err);
		else
			push_changes(p, v, start, end, RUN_PRESENT);
	}
	return rc;
}

/* The vdso is saved whole, though its pages appear in the page map only when used. */
static int pick_vdso(struct picker *p, const VmaEntry *v)
{
	push_span(p, v, v->start, v->end, RUN_PRESENT);
	p->scanned += (v->end - v->start) / PAGE;
	return 0;
}

/* Worth a scan of its own, which costs less there. */
static bool is_large_anon(const VmaEntry *v)
{
	return vma_is_anon_private(v) && v->end - v->start >= 4 * 1024 * 1024;
}

/*
 * Scans from area `first` over its neighbours as far as nothing large lies between them (shared
 * memory of many gigabytes, say); returns the first area behind.
 */
static size_t group_end(const struct picker *p, size_t first)
{
	const uint64_t gap = 1024 * 1024;
	size_t i = first + 1;

	while (i < p->n_areas && p->resident[i] && !vma_is_vdso(p->areas[i]) &&
		!is_large_anon(p->areas[i]) && p->areas[i]->start - p->areas[i - 1]->end < gap)
		i++;
	return i;
}

static int pick_all(struct picker *p, struct err *err)
{
	size_t next;
	int rc = 0;

	for (size_t i = 0; i < p->n_areas && rc == 0; i = next) {
		next = i + 1;
		if (!p->resident[i])
			continue;
		if (vma_is_vdso(p->areas[i])) {
			rc = pick_vdso(p, p->areas[i]);
			continue;
		}
		if (is_large_anon(p->areas[i])) {
			rc = page_scan_anon(&p->scanner, PAGE_PRESENT | PAGE_SWAPPED,
				p->areas[i]->start, p->areas[i]->end, pick_span, p, err);
			continue;
		}
		next = group_end(p, i);
		rc = page_scan(&p->scanner, PAGE_PRESENT | PAGE_SWAPPED, p->areas[i]->start,
			p->areas[next - 1]->end, pick_span, p, err);
	}
	return rc;
}

/* --------------------------------------------------------------------- how it is read */

static void push_road(struct picker *p, const struct task_span *c, uint64_t start, uint64_t end,
	bool exclusive)
{
	struct task_span *last = p->spans.n ? &p->spans.at[p->spans.n - 1] : NULL;
	struct task_span span = *c;
	bool joins = last && last->end == start && last->flags == c->flags &&
		last->drop_zero == c->drop_zero;

	if (joins && !last->exclusive && end - start < ABSORB * (uint64_t)PAGE)
		exclusive = false;
	if (joins && last->exclusive == exclusive) {
		last->end = end;
		return;
	}
	span.start = start;
	span.end = end;
	span.exclusive = exclusive;
	vec_push(&p->spans, span);
}

/* Cuts [start, end) of a candidate where sharing begins or ends; bits are those of start. */
static void cut_roads(struct picker *p, const struct task_span *c, uint64_t start, uint64_t end,
	const uint64_t *bits)
{
	uint64_t from = start;

	for (uint64_t at = start + PAGE; at <= end; at += PAGE) {
		bool was = pagemap_is_exclusive(bits[(at - start) / PAGE - 1]);

		if (at < end && was == pagemap_is_exclusive(bits[(at - start) / PAGE]))
			continue;
		push_road(p, c, from, at, was);
		from = at;
	}
}

/* The page map from the start of candidate i, also over its next neighbours: [start, *ret_end). */
static int read_window(const struct picker *p, size_t i, uint64_t start, uint64_t *bits,
	uint64_t *ret_end, struct err *err)
{
	const uint64_t most = start + WINDOW_PAGES * (uint64_t)PAGE;
	uint64_t end = p->candidates.at[i].end;

	while (++i < p->candidates.n && end < most &&
		p->candidates.at[i].start - end <= WINDOW_GAP * (uint64_t)PAGE)
		end = p->candidates.at[i].end;
	*ret_end = end < most ? end : most;
	return page_bits(&p->scanner, start, (*ret_end - start) / PAGE, bits, err);
}

static int choose_roads(struct picker *p, struct err *err)
{
	uint64_t *bits = calloc(WINDOW_PAGES, sizeof(*bits));
	uint64_t window = 0, window_end = 0;
	int rc = bits ? 0 : err_nomem(err);

	for (size_t i = 0; i < p->candidates.n && rc == 0; i++) {
		const struct task_span *c = &p->candidates.at[i];
		uint64_t at = c->start;

		if (!c->exclusive) { /* must not be read by the fast road at all */
			push_road(p, c, c->start, c->end, false);
			continue;
		}
		while (at < c->end && rc == 0) {
			uint64_t end;

			if (at >= window_end) {
				window = at;
				rc = read_window(p, i, at, bits, &window_end, err);
				if (rc < 0)
					break;
			}
			end = c->end < window_end ? c->end : window_end;
			cut_roads(p, c, at, end, bits + (at - window) / PAGE);
			at = end;
		}
	}
	free(bits);
	return rc;
}

/* ------------------------------------------------------------------------- preparations */

static int compare_addresses(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void find_stacks(struct picker *p)
{
	task_each_thread(th, p->task) {
		const CoreEntry *core = th->core;

		if (core && core->thread_info && core->thread_info->gpregs)
			vec_push(&p->stacks, core->thread_info->gpregs->sp / PAGE * PAGE);
	}
	if (p->stacks.n)
		qsort(p->stacks.at, p->stacks.n, sizeof(*p->stacks.at), compare_addresses);
}

static int note_resident(const struct smaps_area *a, void *data, struct err *err)
{
	struct picker *p = data;

	while (p->at < p->n_areas && p->areas[p->at]->end <= a->start)
		p->at++;
	for (size_t i = p->at; i < p->n_areas && p->areas[i]->start < a->end; i++)
		p->resident[i] |= a->resident;
	return 0;
}

/*
 * Without PAGEMAP_SCAN (before 6.7) holes have to be walked page by page; so at least areas without
 * any page, reservations of terabytes among them, are left out by what smaps says.
 */
static int find_resident(struct picker *p, struct err *err)
{
	int rc;

	for (size_t i = 0; i < p->n_areas; i++)
		p->resident[i] = p->scanner.can_scan || vma_is_vdso(p->areas[i]);
	if (p->scanner.can_scan)
		return 0;
	rc = smaps_walk(p->tid, note_resident, p, err);
	p->at = 0;
	return rc;
}

static int picker_init(struct picker *p, struct world *w, const struct task *t, pid_t tid,
	struct err *err)
{
	const MmEntry *mm = t->mm;
	int rc;

	*p = (struct picker){ .task = t, .tid = tid, .scanner = { .fd = -1 } };
	p->areas = arena_array(w->arena, mm->n_vmas, sizeof(*p->areas));
	p->resident = arena_array(w->arena, mm->n_vmas, sizeof(*p->resident));
	for (size_t i = 0; i < mm->n_vmas; i++)
		if (vma_has_pages(mm->vmas[i]))
			p->areas[p->n_areas++] = mm->vmas[i];
	find_stacks(p);
	rc = page_scanner_open(&p->scanner, tid, err);
	return rc < 0 ? rc : find_resident(p, err);
}

static void picker_done(struct picker *p)
{
	page_scanner_close(&p->scanner);
	vec_done(&p->stacks);
	vec_done(&p->candidates);
	vec_done(&p->spans);
	changes_done(&p->changes);
}

/* Spans that are read or told later; they outlive the scanner. */
struct mm_pages {
	const struct task *task;
	pid_t tid;
	struct task_spans spans;
	uint64_t scanned;
};

int mm_pages_pick(struct world *w, struct task *t, pid_t tid, const struct mm_before *before,
	struct mm_pages **ret, struct err *err)
{
	struct mm_pages *pages = calloc(1, sizeof(*pages));
	struct picker p;
	int rc;

	if (!pages)
		return err_nomem(err);
	rc = picker_init(&p, w, t, tid, err);
	p.lazy = before && before->leave_lazy ? RUN_LAZY : RUN_PRESENT | RUN_LAZY;
	if (rc == 0)
		rc = changes_find(&p.changes,
			&(struct changes_in){ t, tid, &p.scanner, p.areas, p.resident, p.n_areas },
			before, err);
	if (rc == 0)
		rc = pick_all(&p, err);
	if (rc == 0)
		rc = choose_roads(&p, err);
	*pages = (struct mm_pages){ t, tid, p.spans, p.scanned };
	p.spans = (struct task_spans){ 0 };
	picker_done(&p);
	if (rc < 0)
		mm_pages_free(pages);
	else
		*ret = pages;
	return rc;
}

void mm_pages_free(struct mm_pages *p)
{
	if (!p)
		return;
	vec_done(&p->spans);
	free(p);
}

uint64_t mm_pages_bytes(const struct mm_pages *p)
{
	uint64_t bytes = 0;

	vec_each(span, &p->spans)
		bytes += span->flags & RUN_PRESENT ? span->end - span->start : 0;
	return bytes;
}

/* -------------------------------------------------------------------------------- saving */

/* Where a feed goes. */
struct target {
	struct image_set *images;
	enum image_id type;
	unsigned long id;
	uint32_t pages_id;
	const struct digest_plan *digests; /* or NULL */
};

static int pump_feed(struct page_feed *feed, const struct target *to, struct page_stats *stats,
	uint64_t *ret_written, struct err *err)
{
	struct page_out out;
	uint64_t written;
	int rc = page_out_open(&out, to->images, to->type, to->id, to->pages_id, err);

	if (rc < 0)
		return rc;
	rc = pages_pump(feed, out.sink, stats, err);
	if (rc < 0) {
		page_out_drop(&out);
		return rc;
	}
	rc = page_out_close(&out, &written, err);
	*ret_written += written;
	return rc;
}

/* Counts pages that went into the images, and those the parent images have already. */
static int save_feed(struct page_feed *feed, const struct target *to, struct page_stats *stats,
	uint64_t *ret_written, uint64_t *ret_skipped, struct err *err)
{
	struct digest_feed digests;
	int rc, end;

	if (!to->digests)
		return pump_feed(feed, to, stats, ret_written, err);
	rc = digest_feed_open(&digests, feed, to->digests, to->images, to->type, to->id, err);
	if (rc < 0)
		return rc;
	rc = pump_feed(&digests.base, to, stats, ret_written, err);
	*ret_skipped += digests.skipped;
	end = digest_feed_close(&digests, rc < 0 ? NULL : err);
	return rc < 0 ? rc : end;
}

int mm_pages_save(const struct mm_pages *p, bool runs_on, struct image_set *images,
	uint32_t pages_id, const struct digest_plan *digests, struct page_stats *stats,
	struct err *err)
{
	const struct target to = { images, IMG_PAGEMAP, (unsigned long)p->task->pid, pages_id,
		digests };
	struct task_feed feed;
	int rc = task_feed_open(&feed, p->tid, p->spans.at, p->spans.n, err);

	stats->scanned += p->scanned;
	if (runs_on && (rc == -ENOENT || rc == -ESRCH)) { /* it has ended since */
		err_clear(err);
		return 0;
	}
	if (rc < 0)
		return rc;
	feed.runs_on = runs_on;
	rc = save_feed(&feed.base, &to, stats, &stats->written, &stats->skipped_parent, err);
	stats->skipped_parent += feed.skipped;
	stats->lazy += feed.lazy;
	task_feed_close(&feed);
	return rc;
}

int mm_dump_pages(struct world *w, struct task *t, pid_t tid, struct image_set *images,
	uint32_t pages_id, struct page_stats *stats, struct err *err)
{
	struct mm_pages *pages;
	int rc = mm_pages_pick(w, t, tid, NULL, &pages, err);

	if (rc < 0)
		return rc;
	rc = mm_pages_save(pages, false, images, pages_id, NULL, stats, err);
	mm_pages_free(pages);
	return rc;
}

uint64_t mm_shared_bytes(const struct file_collector *files)
{
	const struct shared_list *list = file_collected_shared(files);
	uint64_t bytes = 0;
	struct stat st;

	vec_each(object, list)
		if (object->size && fstat(object->fd, &st) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
	return bytes;
}

int mm_dump_shared(struct file_collector *files, struct image_set *images, uint32_t *next_pages_id,
	const struct digest_plan *digests, struct page_stats *stats, struct err *err)
{
	const struct shared_list *list = file_collected_shared(files);

	vec_each(object, list) {
		const struct target to = { images, IMG_PAGEMAP_SHMEM, object->shmid, *next_pages_id,
			digests };
		struct object_feed feed;
		int rc;

		if (!object->size)
			continue;
		++*next_pages_id;
		object_feed_init(&feed, object->fd, object->size);
		rc = save_feed(&feed.base, &to, stats, &stats->shared_written,
			&stats->shared_skipped_parent, err);
		stats->shared_scanned += feed.scanned;
		if (rc < 0)
			return err_while(err, "saving shared memory %u", object->shmid);
	}
	return 0;
}
