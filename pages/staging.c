// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See pages/staging.h. The file is batches as they come, one behind the other: a head, the runs, the
 * extents if it is encrypted, and the bytes. Nobody else can reach it (O_TMPFILE), so what is read
 * is what was written. What has been read is given back at once, so that both forms of the pages
 * never take their full room together.
 */
#include "pages/staging.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "pages/batch.h"
#include "pages/filter.h"
#include "pages/sink.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { GIVE_BACK = 8 * 1024 * 1024, ROOM_LEAST = 16 * 1024 * 1024, EXTENTS = BATCH_BYTES / EXTENT_BYTES + 1 };

struct head {
	uint64_t len, stored; /* bytes of the pages; as they stand in the file */
	uint32_t n_runs, n_extents;
};

struct page_staging {
	struct page_sink sink;
	int fd;
	uint64_t at; /* end of what was written; then, of what was read */
	uint64_t given_back;
	struct vec_of(struct staged_object) objects;
};

struct staging_feed {
	struct page_feed base;
	struct page_staging *staging;
	uint64_t end;
	uint8_t *stored; /* room for one batch */
};

/* ------------------------------------------------------------------------------ open and close */

int page_staging_pays(struct image_set *set, uint64_t bytes, bool *ret, struct err *err)
{
	struct filter_chain *chain;
	struct statvfs fs;
	int r = filter_chain_of(set, &chain, err);

	*ret = false;
	if (r < 0 || !chain || image_set_access(set)->streamed || !filter_chain_is_slow(chain))
		return r;
	if (fstatvfs(image_set_dirfd(set), &fs) < 0)
		return err_sys(err, "cannot ask for the room in the directory of images");
	/* in the worst case both forms are there at once */
	*ret = fs.f_bavail * (uint64_t)fs.f_frsize / 2 > bytes + ROOM_LEAST;
	return 0;
}

/* Not every file system has O_TMPFILE. */
static int open_nameless(int dirfd)
{
	static const char name[] = "torpor-staging";
	int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
		return fd;
	fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd >= 0)
		unlinkat(dirfd, name, 0);
	return fd;
}

static int staging_put(struct page_sink *base, const struct batch *b, struct err *err);

int page_staging_new(const struct image_set *set, struct page_staging **ret, struct err *err)
{
	struct page_staging *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return err_nomem(err);
	s->sink.put = staging_put;
	s->fd = open_nameless(image_set_dirfd(set));
	if (s->fd < 0)
		r = err_sys(err, "cannot make a file for pages that wait beside the images");
	else if (image_set_is_sealed(set))
		r = filter_chain_private(&s->sink.chain, err);
	if (r < 0)
		page_staging_free(s);
	else
		*ret = s;
	return r;
}

void page_staging_free(struct page_staging *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	filter_chain_drop(s->sink.chain);
	vec_done(&s->objects);
	free(s);
}

/* ------------------------------------------------------------------------------------- filling */

static int staging_put(struct page_sink *base, const struct batch *b, struct err *err)
{
	struct page_staging *s = (struct page_staging *)base;
	struct head head = { .len = b->len, .n_runs = (uint32_t)b->n_runs,
		.n_extents = (uint32_t)b->n_extents };
	struct iovec iov[3 + EXTENTS] = { { &head, sizeof(head) },
		{ b->runs, b->n_runs * sizeof(*b->runs) },
		{ b->extents, b->n_extents * sizeof(*b->extents) } };
	int n = 3, r;

	for (size_t i = 0; i < b->n_extents; i++, n++) {
		const struct extent *x = &b->extents[i];

		iov[n] = (struct iovec){ (void *)(uintptr_t)batch_extent(b, x), x->bytes };
		head.stored += x->bytes;
	}
	if (!b->n_extents) {
		iov[n++] = (struct iovec){ b->bytes, b->len };
		head.stored = b->len;
	}
	s->at += iov[0].iov_len + iov[1].iov_len + iov[2].iov_len + head.stored;
	r = io_writev_all(s->fd, iov, n, 0);
	return r < 0 ? err_sysn(err, -r, "cannot write pages that wait beside the images") : 0;
}

struct page_sink *page_staging_begin(struct page_staging *s, enum image_id type, unsigned long id,
	uint32_t pages_id)
{
	const struct staged_object object = { type, id, pages_id, .at = s->at };

	vec_push(&s->objects, object);
	return &s->sink;
}

void page_staging_end(struct page_staging *s)
{
	s->objects.at[s->objects.n - 1].end = s->at;
}

/* ------------------------------------------------------------------------------------ draining */

static int take(struct page_staging *s, void *to, size_t len)
{
	int r = io_pread_all(s->fd, to, len, (off_t)s->at);

	s->at += len;
	return r;
}

/* That this cannot be done everywhere costs room, nothing else. */
static void give_back(struct page_staging *s)
{
	if (s->at - s->given_back < GIVE_BACK)
		return;
	(void)!fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)s->given_back,
		(off_t)(s->at - s->given_back));
	s->given_back = s->at;
}

static int decode(struct staging_feed *f, const struct extent *extents, size_t n, struct batch *b,
	uint64_t *serial, struct err *err)
{
	struct torpor_extent id = f->staging->sink.common;
	const uint8_t *from = f->stored;
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		id.address = extents[i].address;
		id.length = extents[i].length;
		id.applied = extents[i].applied;
		id.serial = (*serial)++;
		r = filter_decode(f->staging->sink.chain, 0, &id, from, extents[i].bytes,
			b->bytes + extents[i].offset, err);
		from += extents[i].bytes;
	}
	return r;
}

static int staging_next(struct page_feed *base, struct batch *b, struct err *err)
{
	struct staging_feed *f = (struct staging_feed *)base;
	struct page_staging *s = f->staging;
	struct extent extents[EXTENTS];
	struct head head;
	int r;

	batch_reset(b);
	if (s->at == f->end)
		return 0;
	r = take(s, &head, sizeof(head));
	if (r == 0)
		r = take(s, b->runs, head.n_runs * sizeof(*b->runs));
	if (r == 0)
		r = take(s, extents, head.n_extents * sizeof(*extents));
	if (r == 0)
		r = take(s, head.n_extents ? f->stored : b->bytes, head.stored);
	if (r < 0)
		return err_sysn(err, -r, "cannot read pages that wait beside the images");
	b->len = head.len;
	b->n_runs = head.n_runs;
	give_back(s);
	r = decode(f, extents, head.n_extents, b, &s->sink.serials, err);
	return r < 0 ? r : 1;
}

static int drain_object(struct page_staging *s, const struct staged_object *object, uint8_t *room,
	struct image_set *set, struct page_stats *stats, struct err *err)
{
	struct staging_feed feed = { { staging_next }, s, object->end, room };
	struct page_stats times = { 0 };
	struct image_sink sink;
	uint64_t written;
	/* filtered pages go to a server as files, or it would not have been chosen */
	int r = image_sink_open(&sink, set, object->type, object->id, object->pages_id,
		image_set_page_client(set), err);

	if (r < 0)
		return r;
	r = pages_pump(&feed.base, &sink.base, &times, err);
	stats->memwrite_us += times.memwrite_us;
	if (r < 0) {
		image_sink_drop(&sink);
		return r;
	}
	written = sink.written;
	r = image_sink_close(&sink, err);
	*(object->type == IMG_PAGEMAP ? &stats->written : &stats->shared_written) += written;
	return r;
}

int page_staging_drain(struct page_staging *s, struct image_set *set, struct page_stats *stats,
	struct err *err)
{
	auto_free uint8_t *room = malloc(BATCH_BYTES + EXTENTS * TORPOR_FILTER_EXPANSION_MAX);
	int r = room ? 0 : err_nomem(err);

	s->at = s->given_back = s->sink.serials = 0;
	vec_each(object, &s->objects) {
		if (r < 0)
			break;
		r = drain_object(s, object, room, set, stats, err);
		if (r < 0)
			err_while(err, "encoding the memory of %s %lu",
				object->type == IMG_PAGEMAP ? "task" : "shared object", object->id);
	}
	return r;
}
