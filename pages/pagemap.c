// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads the pagemap of a task or shared object: a head that names the pages file, then entries
 * in ascending order. What is wrong in it is found here, before anything is restored: disorder,
 * overlap, odd addresses, and a pages file shorter than the entries say.
 *
 * Writers disagree on where the number of pages stands: field 5 (64 bits) wins over field 2.
 * `in_parent` is an old spelling of RUN_PARENT, and an entry without flags has its bytes.
 *
 * Extents (torpor's own, in images with its magic) follow each other without gaps, in the pages as
 * well as in the pages file, and hold exactly the pages that are present.
 */
#include "base/cleanup.h"
#include "base/vec.h"
#include "pages/filter.h"
#include "proto/messages.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct loading {
	struct image_reader *r;
	struct vec_of(struct run) runs;
	struct vec_of(struct extent) extents;
	uint64_t bytes; /* of the pages that are present */
	uint64_t filtered, stored; /* bytes of the pages in extents, bytes they take in the file */
	PagemapHead head;
};

static int run_of_entry(const struct image_reader *r, const PagemapEntry *e, struct run *ret,
	struct err *err)
{
	const uint32_t known = RUN_PARENT | RUN_LAZY | RUN_PRESENT;
	uint64_t pages = e->has_nr_pages ? e->nr_pages : e->compat_nr_pages;
	uint32_t flags = e->has_flags ? e->flags : 0;
	uint64_t end;

	if (e->has_in_parent && e->in_parent)
		flags |= RUN_PARENT;
	if (!flags)
		flags = RUN_PRESENT;
	if (flags & ~known)
		return err_image(err, "%s: the entry at 0x%lx has unknown flags 0x%x",
			image_reader_name(r), e->vaddr, flags);
	if (e->vaddr % PAGE)
		return err_image(err, "%s: address 0x%lx does not start a page",
			image_reader_name(r), e->vaddr);
	if (!pages || __builtin_mul_overflow(pages, (uint64_t)PAGE, &end) ||
		__builtin_add_overflow(end, e->vaddr, &end))
		return err_image(err, "%s: impossible number of pages (%lu) at 0x%lx",
			image_reader_name(r), pages, e->vaddr);
	*ret = (struct run){ .vaddr = e->vaddr, .pages = pages, .flags = flags };
	return 0;
}

/* Appends a run behind the last one. */
static int runs_add(struct loading *l, struct run run, struct err *err)
{
	const struct run *last = l->runs.n ? &l->runs.at[l->runs.n - 1] : NULL;

	if (last && run.vaddr < last->vaddr + last->pages * PAGE)
		return err_image(err, "%s: the entry at 0x%lx overlaps or precedes the one at 0x%lx",
			image_reader_name(l->r), run.vaddr, last->vaddr);
	if (run.flags & RUN_PRESENT) {
		run.offset = l->bytes;
		if (__builtin_add_overflow(l->bytes, run.pages * PAGE, &l->bytes))
			return err_image(err, "%s: more pages than any file can hold",
				image_reader_name(l->r));
	}
	vec_push(&l->runs, run);
	return 0;
}

/* ------------------------------------------------------------------------------------- extents */

static int extent_add(struct loading *l, uint32_t pages, uint32_t bytes, uint32_t applied,
	struct err *err)
{
	const uint32_t most = TORPOR_FILTER_EXTENT_MAX;
	const struct run *run = &l->runs.at[l->runs.n - 1];
	struct extent x = { .offset = l->filtered, .address = run->vaddr, .at = l->stored,
		.length = pages * PAGE, .bytes = bytes, .applied = applied };

	if (!pages || pages > most / PAGE)
		return err_image(err, "%s: an extent at 0x%lx has %u pages", image_reader_name(l->r),
			run->vaddr, pages);
	if (!bytes || bytes > most + FILTERS_MAX * TORPOR_FILTER_EXPANSION_MAX ||
		(!applied && bytes != x.length))
		return err_image(err, "%s: an extent at 0x%lx of %u pages takes %u bytes",
			image_reader_name(l->r), run->vaddr, pages, bytes);
	if (x.offset < run->offset || x.offset - run->offset >= run_bytes(run))
		return err_image(err, "%s: an extent does not begin in the entry at 0x%lx",
			image_reader_name(l->r), run->vaddr);
	x.address += x.offset - run->offset;
	l->filtered += x.length;
	l->stored += bytes;
	vec_push(&l->extents, x);
	return 0;
}

/* Those of the last entry. */
static int extents_add(struct loading *l, const PagemapEntry *e, struct err *err)
{
	int rc = 0;

	if (e->n_extent_pages != e->n_extent_bytes || e->n_extent_pages != e->n_extent_filters ||
		(e->n_extent_pages && !l->head.has_extent_object))
		return err_image(err, "%s: the entry at 0x%lx has contradictory extents",
			image_reader_name(l->r), e->vaddr);
	for (size_t i = 0; i < e->n_extent_pages && rc == 0; i++)
		rc = extent_add(l, e->extent_pages[i], e->extent_bytes[i], e->extent_filters[i], err);
	return rc;
}

/* ------------------------------------------------------------------------------------- loading */

static int read_head(struct loading *l, struct arena *scratch, struct err *err)
{
	PagemapHead *head;
	int rc = image_next_as(l->r, &pagemap_head__descriptor, scratch, &head, err);

	if (rc == 0)
		rc = err_image(err, "%s has no head", image_reader_name(l->r));
	if (rc < 0)
		return rc;
	l->head = *head;
	if (!head->has_extent_object != !image_is_torpors(l->r))
		return err_image(err, "%s: magic and head contradict each other",
			image_reader_name(l->r));
	return 0;
}

static int read_runs(struct loading *l, struct arena *scratch, struct err *err)
{
	PagemapEntry *e;
	struct run run;
	int rc = read_head(l, scratch, err);

	while (rc == 0) {
		rc = image_next_as(l->r, &pagemap_entry__descriptor, scratch, &e, err);
		if (rc <= 0)
			break;
		rc = run_of_entry(l->r, e, &run, err);
		if (rc == 0)
			rc = runs_add(l, run, err);
		if (rc == 0)
			rc = extents_add(l, e, err);
	}
	if (rc == 0 && l->head.has_extent_object && l->filtered != l->bytes)
		rc = err_image(err, "%s: its extents have %lu bytes of pages, its entries %lu",
			image_reader_name(l->r), l->filtered, l->bytes);
	return rc;
}

static int check_pages_file(struct image_set *set, const char *pagemap, uint32_t pages_id,
	uint64_t bytes, bool may_miss, struct err *err)
{
	auto_close int fd = -1;
	struct stat st;
	int rc;

	if (!bytes)
		return 0;
	rc = image_open_raw(set, IMG_PAGES, pages_id, &fd, err);
	if (rc && may_miss && err->number == ENOENT) {
		err_clear(err);
		return 0;
	}
	if (rc)
		return err_while(err, "reading the pages of %s", pagemap);
	if (fstat(fd, &st))
		return err_sys(err, "cannot examine pages-%u.img", pages_id);
	if ((uint64_t)st.st_size < bytes)
		return err_image(err, "pages-%u.img is too short: %s needs %lu bytes, %ld are there",
			pages_id, pagemap, bytes, (long)st.st_size);
	return 0;
}

/* What a page server was told; it has the pages. */
static bool is_told(enum image_id type)
{
	return type == IMG_TORPOR_PAGEMAP || type == IMG_TORPOR_PAGEMAP_SHMEM;
}

static void to_pagemap(const struct loading *l, struct arena *a, struct pagemap *ret)
{
	*ret = (struct pagemap){ .pages_id = l->head.pages_id, .n = l->runs.n,
		.filtered = l->head.has_extent_object, .object = l->head.extent_object,
		.n_extents = l->extents.n };
	if (l->runs.n)
		ret->runs = arena_memdup(a, l->runs.at, l->runs.n * sizeof(*l->runs.at));
	if (l->extents.n)
		ret->extents = arena_memdup(a, l->extents.at, l->extents.n * sizeof(*l->extents.at));
}

/* sent: whether pages of a filtered set may be at a page server still. */
static int load(struct image_set *set, enum image_id type, unsigned long id, bool sent,
	struct arena *a, struct pagemap *ret, struct err *err)
{
	struct loading l = { 0 };
	struct arena *scratch;
	char name[64];
	int rc;

	rc = image_open(set, type, id, &l.r, err);
	if (rc)
		return rc;
	if (!l.r) {
		*ret = (struct pagemap){ 0 };
		return 0;
	}
	scratch = arena_new();
	rc = read_runs(&l, scratch, err);
	arena_free(scratch);
	image_reader_close(l.r);
	if (!rc && !is_told(type))
		rc = check_pages_file(set, image_name(type, id, name, sizeof(name)), l.head.pages_id,
			l.head.has_extent_object ? l.stored : l.bytes,
			sent && l.head.has_extent_object, err);
	if (!rc)
		to_pagemap(&l, a, ret);
	vec_done(&l.runs);
	vec_done(&l.extents);
	return rc;
}

int pagemap_load(struct image_set *set, enum image_id type, unsigned long id, struct arena *a,
	struct pagemap *ret, struct err *err)
{
	return load(set, type, id, false, a, ret, err);
}

int pagemap_load_told(struct image_set *set, enum image_id type, unsigned long id, struct arena *a,
	struct pagemap *ret, struct err *err)
{
	int rc = load(set, type, id, true, a, ret, err);

	if (rc < 0 || ret->n)
		return rc;
	return load(set, type == IMG_PAGEMAP ? IMG_TORPOR_PAGEMAP : IMG_TORPOR_PAGEMAP_SHMEM, id, true,
		a, ret, err);
}
