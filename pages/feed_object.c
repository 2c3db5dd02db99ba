// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads a memfd or shared anonymous memory by a descriptor. Reading allocates nothing: holes are
 * found by SEEK_DATA (lseek(2)); hugetlbfs knows no holes, there only the zeros are left out.
 */
#include "base/io.h"
#include "pages/batch.h"
#include "pages/feed.h"
#include <errno.h>
#include <unistd.h>

static uint64_t up_to_page(uint64_t v)
{
	return (v + PAGE - 1) / PAGE * PAGE;
}

/* Sets at and data_end to the next stretch with data. 1, or 0 at the end. */
static int find_data(struct object_feed *s, struct err *err)
{
	off_t data, hole;

	if (s->at >= s->size)
		return 0;
	data = lseek(s->fd, (off_t)s->at, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return 0;
	hole = data < 0 ? -1 : lseek(s->fd, data, SEEK_HOLE);
	if (hole < 0)
		return err_sys(err, "cannot find the pages of a shared memory object");
	s->at = (uint64_t)data / PAGE * PAGE;
	s->data_end = up_to_page((uint64_t)hole);
	return 1;
}

/* The object may end within its last page. */
static int read_pages(struct object_feed *s, uint8_t *to, size_t len, struct err *err)
{
	size_t there = s->size - s->at < len ? s->size - s->at : len;
	int rc = io_pread_all(s->fd, to, there, (off_t)s->at);

	memset(to + there, 0, len - there);
	return rc < 0 ? err_sysn(err, -rc, "cannot read a shared memory object at 0x%lx", s->at) : 0;
}

static int object_next(struct page_feed *base, struct batch *b, struct err *err)
{
	struct object_feed *s = (struct object_feed *)base;
	size_t filled = 0;
	int rc = 1;

	batch_reset(b);
	while (!batch_is_full(b)) {
		size_t len = BATCH_BYTES - b->len;

		if (s->at >= s->data_end && (rc = find_data(s, err)) <= 0)
			break;
		if (s->data_end - s->at < len)
			len = s->data_end - s->at;
		rc = read_pages(s, b->bytes + b->len, len, err);
		if (rc < 0)
			break;
		batch_take(b, b->bytes + b->len, s->at, len, RUN_PRESENT, true);
		s->at += len;
		s->scanned += len / PAGE;
		filled += len;
	}
	return rc < 0 ? rc : filled > 0;
}

void object_feed_init(struct object_feed *s, int fd, uint64_t size)
{
	*s = (struct object_feed){ .base = { object_next }, .fd = fd, .size = size };
}
