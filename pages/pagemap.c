// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads the pagemap of a task or shared object: a head that names the pages file, then entries
 * in ascending order. What is wrong in it is found here, before anything is restored: disorder,
 * overlap, odd addresses, and a pages file shorter than the entries say.
 *
 * Writers disagree on where the number of pages stands: field 5 (64 bits) wins over field 2.
 * `in_parent` is an old spelling of RUN_PARENT, and an entry without flags has its bytes.
 */
#include "base/cleanup.h"
#include "base/vec.h"
#include "pages/pages.h"
#include "proto/messages.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct runs vec_of(struct run);

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

/* Appends a run behind the last one; *bytes counts what the pages file must hold. */
static int runs_add(const struct image_reader *r, struct runs *runs, struct run run,
	uint64_t *bytes, struct err *err)
{
	const struct run *last = runs->n ? &runs->at[runs->n - 1] : NULL;

	if (last && run.vaddr < last->vaddr + last->pages * PAGE)
		return err_image(err, "%s: the entry at 0x%lx overlaps or precedes the one at 0x%lx",
			image_reader_name(r), run.vaddr, last->vaddr);
	if (run.flags & RUN_PRESENT) {
		run.offset = *bytes;
		if (__builtin_add_overflow(*bytes, run.pages * PAGE, bytes))
			return err_image(err, "%s: more pages than any file can hold",
				image_reader_name(r));
	}
	vec_push(runs, run);
	return 0;
}

static int read_runs(struct image_reader *r, uint32_t *ret_pages_id, struct runs *runs,
	uint64_t *bytes, struct err *err)
{
	struct arena *scratch = arena_new();
	PagemapHead *head;
	PagemapEntry *e;
	struct run run;
	int rc = image_next_as(r, &pagemap_head__descriptor, scratch, &head, err);

	if (rc == 0)
		rc = err_image(err, "%s has no head", image_reader_name(r));
	if (rc > 0)
		*ret_pages_id = head->pages_id;
	while (rc > 0) {
		rc = image_next_as(r, &pagemap_entry__descriptor, scratch, &e, err);
		if (rc <= 0)
			break;
		if ((rc = run_of_entry(r, e, &run, err)) ||
			(rc = runs_add(r, runs, run, bytes, err)))
			break;
		rc = 1;
	}
	arena_free(scratch);
	return rc;
}

static int check_pages_file(struct image_set *set, const char *pagemap, uint32_t pages_id,
	uint64_t bytes, struct err *err)
{
	auto_close int fd = -1;
	struct stat st;
	int rc;

	if (!bytes)
		return 0;
	rc = image_open_raw(set, IMG_PAGES, pages_id, &fd, err);
	if (rc)
		return err_while(err, "reading the pages of %s", pagemap);
	if (fstat(fd, &st))
		return err_sys(err, "cannot examine pages-%u.img", pages_id);
	if ((uint64_t)st.st_size < bytes)
		return err_image(err, "pages-%u.img is too short: %s needs %lu bytes, %ld are there",
			pages_id, pagemap, bytes, (long)st.st_size);
	return 0;
}

int pagemap_load(struct image_set *set, enum image_id type, unsigned long id, struct arena *a,
	struct pagemap *ret, struct err *err)
{
	struct image_reader *r = NULL;
	struct runs runs = { 0 };
	uint64_t bytes = 0;
	uint32_t pages_id = 0;
	char name[64];
	int rc;

	rc = image_open(set, type, id, &r, err);
	if (rc)
		return rc;
	if (!r) {
		*ret = (struct pagemap){ 0 };
		return 0;
	}
	rc = read_runs(r, &pages_id, &runs, &bytes, err);
	image_reader_close(r);
	if (!rc)
		rc = check_pages_file(set, image_name(type, id, name, sizeof(name)), pages_id, bytes,
			err);
	if (!rc)
		*ret = (struct pagemap){ .pages_id = pages_id, .n = runs.n,
			.runs = runs.n ? arena_memdup(a, runs.at, runs.n * sizeof(*runs.at)) : NULL };
	vec_done(&runs);
	return rc;
}
