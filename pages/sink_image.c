// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes pagemap-*.img and pages-N.img. Adjacent runs of equal flags become one entry, also across
 * batches. The number of pages stands in its old field, which every release of CRIU reads; only a
 * number too large for that goes into the new one, which 4.2 looks at first.
 * With filters the entries tell of extents, too, and both files are for torpor only.
 */
#include "pages/sink.h"
#include "base/io.h"
#include "pages/client.h"
#include "pages/filter.h"
#include "proto/messages.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Entries do not grow for ever, so that extents need not be held for ever. */
enum { ENTRY_EXTENTS = 4096 };

static int flush_pending(struct image_sink *s, struct err *err)
{
	PagemapEntry e = PAGEMAP_ENTRY__INIT;
	const struct run *run = &s->pending;

	if (!run->pages)
		return 0;
	e.vaddr = run->vaddr;
	e.has_nr_pages = run->pages > UINT32_MAX;
	e.nr_pages = e.has_nr_pages ? run->pages : 0;
	e.compat_nr_pages = e.has_nr_pages ? 0 : (uint32_t)run->pages;
	e.has_flags = true;
	e.flags = run->flags;
	e.n_extent_pages = e.n_extent_bytes = e.n_extent_filters = s->extent_pages.n;
	e.extent_pages = s->extent_pages.at;
	e.extent_bytes = s->extent_bytes.at;
	e.extent_filters = s->extent_filters.at;
	s->pending.pages = 0;
	s->extent_pages.n = s->extent_bytes.n = s->extent_filters.n = 0;
	return image_put(s->pagemap, &e, err);
}

static int put_run(struct image_sink *s, const struct run *run, struct err *err)
{
	struct run *last = &s->pending;

	if (last->pages && last->flags == run->flags && s->extent_pages.n < ENTRY_EXTENTS &&
		last->vaddr + last->pages * PAGE == run->vaddr) {
		last->pages += run->pages;
		return 0;
	}
	if (flush_pending(s, err) < 0)
		return -EIO;
	*last = *run;
	return 0;
}

static int cannot_write(const struct image_sink *s, int number, struct err *err)
{
	char name[64];

	image_name(IMG_PAGES, s->pages_id, name, sizeof(name));
	return image_set_write_failed(s->set, number, name, err);
}

/* Bytes of the pages file, wherever that is. */
static int store(struct image_sink *s, const uint8_t *bytes, size_t len, struct err *err)
{
	int rc = 0;

	if (s->remote)
		return page_client_file_write(s->remote, bytes, len, err);
	if (s->fd >= 0)
		rc = io_write_patient(s->fd, bytes, len, image_set_patience(s->set));
	return rc < 0 ? cannot_write(s, -rc, err) : 0;
}

static int put_plain(struct image_sink *s, const struct batch *b, struct err *err)
{
	int rc = store(s, b->bytes, b->len, err);

	if (rc < 0)
		return rc;
	s->stored += b->len;
	for (size_t i = 0; i < b->n_runs && rc == 0; i++)
		rc = put_run(s, &b->runs[i], err);
	return rc;
}

/* ------------------------------------------------------------------------------------- extents */

static bool is_hole(const struct image_sink *s, const struct extent *x, const uint8_t *bytes)
{
	return x->bytes == x->length && !bytes[0] && !memcmp(bytes, bytes + 1, x->bytes - 1) &&
	       filter_chain_keeps_zeros(s->base.chain, x->applied);
}

static int make_hole(struct image_sink *s, const struct extent *x)
{
	off_t end = lseek(s->fd, x->bytes, SEEK_CUR);

	return end < 0 || ftruncate(s->fd, end) < 0 ? -errno : 0;
}

/* In as few calls as can be. */
static int write_here(struct image_sink *s, const struct batch *b, struct err *err)
{
	struct iovec iov[BATCH_BYTES / EXTENT_BYTES + 1];
	int n = 0, rc = 0;

	for (size_t i = 0; i < b->n_extents && rc == 0; i++) {
		const struct extent *x = &b->extents[i];
		const uint8_t *bytes = batch_extent(b, x);
		bool hole = !s->travels && is_hole(s, x, bytes);

		s->stored += x->bytes;
		if (!hole)
			iov[n++] = (struct iovec){ (void *)(uintptr_t)bytes, x->bytes };
		if (hole || i + 1 == b->n_extents) {
			rc = io_writev_all(s->fd, iov, n, image_set_patience(s->set));
			n = 0;
		}
		if (hole && rc == 0)
			rc = make_hole(s, x);
	}
	return rc < 0 ? cannot_write(s, -rc, err) : 0;
}

static int write_there(struct image_sink *s, const struct batch *b, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < b->n_extents && rc == 0; i++) {
		const struct extent *x = &b->extents[i];
		const uint8_t *bytes = batch_extent(b, x);

		s->stored += x->bytes;
		rc = is_hole(s, x, bytes) ? page_client_file_hole(s->remote, x->bytes, err)
					  : page_client_file_write(s->remote, bytes, x->bytes, err);
	}
	return rc;
}

/* Zero pages that stayed zero pages become holes. */
static int write_extents(struct image_sink *s, const struct batch *b, struct err *err)
{
	return s->remote ? write_there(s, b, err) : write_here(s, b, err);
}

static void note_extent(struct image_sink *s, const struct extent *x)
{
	vec_push(&s->extent_pages, x->length / PAGE);
	vec_push(&s->extent_bytes, x->bytes);
	vec_push(&s->extent_filters, x->applied);
}

/* An extent is told of by the entry that has its first page, so they are put by turns. */
static int put_filtered(struct image_sink *s, const struct batch *b, struct err *err)
{
	const struct extent *x = b->extents, *end = x + b->n_extents;
	uint64_t at = 0;
	int rc = write_extents(s, b, err);

	for (size_t i = 0; i < b->n_runs && rc == 0; i++) {
		rc = put_run(s, &b->runs[i], err);
		at += run_bytes(&b->runs[i]);
		for (; x < end && x->offset < at; x++)
			note_extent(s, x);
	}
	return rc;
}

static int image_sink_put(struct page_sink *base, const struct batch *b, struct err *err)
{
	struct image_sink *s = (struct image_sink *)base;

	s->written += b->len / PAGE;
	return base->chain ? put_filtered(s, b, err) : put_plain(s, b, err);
}

/* ----------------------------------------------------------------------------- open and close */

int image_sink_open(struct image_sink *s, struct image_set *set, enum image_id type,
	unsigned long id, uint32_t pages_id, struct page_client *remote, struct err *err)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	int rc;

	*s = (struct image_sink){ .base = { image_sink_put },
		.fd = -1,
		.set = set,
		.remote = remote,
		.pages_id = pages_id,
		.travels = image_set_access(set)->streamed };
	head.pages_id = pages_id;
	rc = filter_chain_of(set, &s->base.chain, err);
	if (rc < 0)
		return rc;
	if (s->base.chain) {
		rc = filter_chain_settle(s->base.chain, err);
		if (rc < 0)
			return rc;
		extent_common(set, type, id, &s->base.common);
		s->base.serials = (uint64_t)pages_id << 32;
		head.has_extent_object = true;
		head.extent_object = pages_id;
		rc = image_create_torpor(set, type, id, &s->pagemap, err);
	} else {
		rc = image_create(set, type, id, &s->pagemap, err);
	}
	if (rc == 0)
		rc = image_put(s->pagemap, &head, err);
	if (rc == 0 && remote) {
		image_note_remote_pages(set, pages_id);
		rc = page_client_file_begin(remote, pages_id, err);
	} else if (rc == 0) {
		rc = image_create_raw(set, IMG_PAGES, pages_id, &s->fd, err);
	}
	if (rc < 0)
		image_sink_drop(s);
	return rc;
}

int image_sink_open_map(struct image_sink *s, struct image_set *set, enum image_id type,
	unsigned long id, struct err *err)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	int rc;

	*s = (struct image_sink){ .base = { image_sink_put }, .fd = -1 };
	rc = image_create(set, type, id, &s->pagemap, err);
	if (rc == 0)
		rc = image_put(s->pagemap, &head, err);
	if (rc < 0)
		image_sink_drop(s);
	return rc;
}

static void sink_done(struct image_sink *s)
{
	vec_done(&s->extent_pages);
	vec_done(&s->extent_bytes);
	vec_done(&s->extent_filters);
	s->pagemap = NULL;
	s->fd = -1;
}

int image_sink_close(struct image_sink *s, struct err *err)
{
	int rc = flush_pending(s, err);
	int rc2 = image_finish(s->pagemap, err);

	if (s->remote && rc == 0 && rc2 == 0)
		rc = page_client_file_end(s->remote, err);
	if (s->fd >= 0 && close(s->fd) < 0 && rc == 0 && rc2 == 0)
		rc = cannot_write(s, errno, err);
	if (s->set) /* else the pages went to a server */
		image_note_pages(s->set, s->pages_id, s->stored);
	sink_done(s);
	return rc < 0 ? rc : rc2;
}

void image_sink_drop(struct image_sink *s)
{
	struct err ignored = ERR_INIT;

	if (image_finish(s->pagemap, &ignored) < 0)
		err_clear(&ignored);
	if (s->fd >= 0)
		close(s->fd);
	sink_done(s);
}
