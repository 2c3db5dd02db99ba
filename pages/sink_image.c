// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes pagemap-*.img and pages-N.img. Adjacent runs of equal flags become one entry, also across
 * batches. The number of pages stands in its old field, which every release of CRIU reads; only a
 * number too large for that goes into the new one, which 4.2 looks at first.
 */
#include "pages/sink.h"
#include "base/io.h"
#include "proto/messages.h"
#include <errno.h>
#include <unistd.h>

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
	s->pending.pages = 0;
	return image_put(s->pagemap, &e, err);
}

static int put_run(struct image_sink *s, const struct run *run, struct err *err)
{
	struct run *last = &s->pending;

	if (last->pages && last->flags == run->flags &&
		last->vaddr + last->pages * PAGE == run->vaddr) {
		last->pages += run->pages;
		return 0;
	}
	if (flush_pending(s, err) < 0)
		return -EIO;
	*last = *run;
	return 0;
}

static int image_sink_put(struct page_sink *base, const struct batch *b, struct err *err)
{
	struct image_sink *s = (struct image_sink *)base;
	int rc = io_write_all(s->fd, b->bytes, b->len);

	if (rc < 0)
		return err_sysn(err, -rc, "cannot write memory pages");
	for (size_t i = 0; i < b->n_runs && rc == 0; i++)
		rc = put_run(s, &b->runs[i], err);
	s->written += b->len / PAGE;
	return rc;
}

int image_sink_open(struct image_sink *s, struct image_set *set, enum image_id type,
	unsigned long id, uint32_t pages_id, struct err *err)
{
	PagemapHead head = PAGEMAP_HEAD__INIT;
	int rc;

	*s = (struct image_sink){ .base = { image_sink_put }, .fd = -1 };
	head.pages_id = pages_id;
	rc = image_create(set, type, id, &s->pagemap, err);
	if (rc == 0)
		rc = image_put(s->pagemap, &head, err);
	if (rc == 0)
		rc = image_create_raw(set, IMG_PAGES, pages_id, &s->fd, err);
	if (rc < 0)
		image_sink_drop(s);
	return rc;
}

int image_sink_close(struct image_sink *s, struct err *err)
{
	int rc = flush_pending(s, err);
	int rc2 = image_finish(s->pagemap, err);

	s->pagemap = NULL;
	if (close(s->fd) < 0 && rc == 0 && rc2 == 0)
		rc = err_sys(err, "cannot write memory pages");
	s->fd = -1;
	return rc < 0 ? rc : rc2;
}

void image_sink_drop(struct image_sink *s)
{
	struct err ignored = ERR_INIT;

	if (image_finish(s->pagemap, &ignored) < 0)
		err_clear(&ignored);
	if (s->fd >= 0)
		close(s->fd);
	s->pagemap = NULL;
	s->fd = -1;
}
