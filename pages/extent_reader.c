// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See pages/extent_reader.h.
 *
 * Slots of decoded extents, the least recently used one is taken for the next extent. A slot that
 * is being decoded belongs to its job until the crew says that it is done; only the thread that
 * calls extent_reader_get() looks at the list of slots.
 */
#include "pages/extent_reader.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/vec.h"
#include <string.h>

enum {
	SLOTS = 24, /* decoded extents: at most 6 MiB, usually 3 */
	AHEAD = 12, /* extents decoded before they are asked for */
};

struct slot {
	struct job job;
	struct extent_reader *reader;
	size_t extent; /* index, SIZE_MAX: none */
	uint64_t used; /* when, for the choice of a victim */
	bool pending; /* the crew has it */
	int failed; /* negative errno */
	struct err err;
	uint8_t *pages; /* TORPOR_FILTER_EXTENT_MAX */
	uint8_t *stored; /* what was read, `stored_room` bytes */
	size_t stored_room;
};

struct extent_reader {
	struct filter_chain *chain;
	struct crew *crew;
	int fd;
	const uint8_t *map;
	struct torpor_extent common;
	uint32_t object;
	struct extent *extents;
	size_t n, last; /* extent that was asked for last */
	uint64_t clock;
	struct slot slots[SLOTS];
};

struct extent_reader *extent_reader_new(const struct extent_file *f)
{
	struct extent_reader *r = calloc(1, sizeof(*r));
	struct extent *copy = reallocarray(NULL, f->n ? f->n : 1, sizeof(*copy));

	if (!r || !copy)
		abort();
	if (f->n)
		memcpy(copy, f->extents, f->n * sizeof(*copy));
	*r = (struct extent_reader){ .chain = f->take_chain, .fd = f->fd, .common = f->common,
		.object = f->object, .extents = copy, .n = f->n, .last = SIZE_MAX };
	for (size_t i = 0; i < SLOTS; i++)
		r->slots[i] = (struct slot){ .reader = r, .extent = SIZE_MAX };
	return r;
}

static void slot_finish(struct extent_reader *r, struct slot *s)
{
	if (s->pending)
		crew_wait(r->crew, &s->job);
	s->pending = false;
}

void extent_reader_forget(struct extent_reader *r)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct slot *s = &r->slots[i];

		slot_finish(r, s);
		free(s->pages);
		free(s->stored);
		*s = (struct slot){ .reader = r, .extent = SIZE_MAX };
	}
}

void extent_reader_free(struct extent_reader *r)
{
	if (!r)
		return;
	extent_reader_forget(r);
	filter_chain_drop(r->chain);
	free(r->extents);
	free(r);
}

void extent_reader_use_map(struct extent_reader *r, const uint8_t *map)
{
	r->map = map;
}

void extent_reader_use_crew(struct extent_reader *r, struct crew *crew)
{
	for (size_t i = 0; i < SLOTS; i++)
		slot_finish(r, &r->slots[i]);
	r->crew = crew;
}

/* ------------------------------------------------------------------------------------ decoding */

static int fetch(struct slot *s, const struct extent *x, const uint8_t **ret)
{
	const struct extent_reader *r = s->reader;

	*ret = r->map ? r->map + x->at : s->stored;
	return r->map ? 0 : io_pread_all(r->fd, s->stored, x->bytes, (off_t)x->at);
}

static void decode(struct slot *s, unsigned worker)
{
	struct extent_reader *r = s->reader;
	const struct extent *x = &r->extents[s->extent];
	struct torpor_extent id = r->common;
	const uint8_t *stored;

	s->err = ERR_INIT;
	s->failed = fetch(s, x, &stored);
	if (s->failed) {
		err_sysn(&s->err, -s->failed, "cannot read %u bytes of a pages file at %lu", x->bytes,
			x->at);
	} else {
		id.address = x->address;
		id.serial = (uint64_t)r->object << 32 | s->extent;
		id.length = x->length;
		id.applied = x->applied;
		s->failed = filter_decode(r->chain, worker, &id, stored, x->bytes, s->pages, &s->err);
	}
	if (s->failed)
		err_while(&s->err, "decoding the extent of page 0x%lx", x->address);
}

static void decode_job(struct job *job, unsigned worker)
{
	decode((struct slot *)job, worker);
}

static int slot_room(struct slot *s, const struct extent *x)
{
	if (!s->pages)
		s->pages = malloc(TORPOR_FILTER_EXTENT_MAX);
	if (!s->reader->map && s->stored_room < x->bytes) {
		free(s->stored);
		s->stored = malloc(x->bytes);
		s->stored_room = s->stored ? x->bytes : 0;
	}
	return s->pages && (s->reader->map || s->stored) ? 0 : -ENOMEM;
}

static struct slot *slot_of(struct extent_reader *r, size_t extent)
{
	for (size_t i = 0; i < SLOTS; i++) {
		if (r->slots[i].extent == extent)
			return &r->slots[i];
	}
	return NULL;
}

static struct slot *slot_oldest(struct extent_reader *r)
{
	struct slot *best = &r->slots[0];

	for (size_t i = 1; i < SLOTS; i++) {
		if (r->slots[i].used < best->used)
			best = &r->slots[i];
	}
	return best;
}

/* Begins to decode an extent; with a crew it may go on after the return. */
static struct slot *begin(struct extent_reader *r, size_t extent)
{
	struct slot *s = slot_oldest(r);

	slot_finish(r, s);
	s->extent = SIZE_MAX;
	if (slot_room(s, &r->extents[extent]) < 0)
		return NULL;
	s->extent = extent;
	s->used = ++r->clock;
	s->pending = r->crew;
	if (r->crew) {
		s->job.run = decode_job;
		crew_give(r->crew, &s->job);
	} else {
		decode(s, 0);
	}
	return s;
}

static int get_slot(struct extent_reader *r, size_t extent, struct slot **ret, struct err *err)
{
	bool in_order = r->last != SIZE_MAX && (extent == r->last || extent == r->last + 1);
	struct slot *s = slot_of(r, extent);

	if (s)
		s->used = ++r->clock;
	else
		s = begin(r, extent);
	if (!s)
		return err_nomem(err);
	for (size_t i = extent + 1; r->crew && in_order && i < r->n && i <= extent + AHEAD; i++) {
		if (!slot_of(r, i))
			begin(r, i);
	}
	r->last = extent;
	slot_finish(r, s);
	if (s->failed) {
		*err = s->err;
		r->last = s->extent = SIZE_MAX;
		return s->failed;
	}
	*ret = s;
	return 0;
}

/* ------------------------------------------------------------------------------------- reading */

/* The extent that holds an offset below the end of the last one. */
static size_t find(const struct extent_reader *r, uint64_t offset)
{
	size_t lo = 0, hi = r->n;

	if (r->last != SIZE_MAX && r->extents[r->last].offset <= offset) {
		lo = r->last;
		if (offset - r->extents[lo].offset < r->extents[lo].length)
			return lo;
	}
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->extents[mid].offset <= offset)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* Part of an extent whose bytes lie where its pages do. */
static int get_part(struct extent_reader *r, const struct extent *x, size_t extent, uint64_t skip,
	uint32_t len, uint8_t *buf, struct err *err)
{
	struct torpor_extent id = r->common;
	auto_free uint8_t *stored = malloc(len);
	int e;

	if (!stored)
		return err_nomem(err);
	if (r->map)
		memcpy(stored, r->map + x->at + skip, len);
	e = r->map ? 0 : io_pread_all(r->fd, stored, len, (off_t)(x->at + skip));
	if (e < 0)
		return err_sysn(err, -e, "cannot read a pages file at %lu", x->at + skip);
	id.address = x->address;
	id.serial = (uint64_t)r->object << 32 | extent;
	id.length = len;
	id.applied = x->applied;
	e = filter_decode(r->chain, 0, &id, stored, len, buf, err);
	return e < 0 ? err_while(err, "decoding the extent of page 0x%lx", x->address) : 0;
}

int extent_reader_get(struct extent_reader *r, uint64_t offset, uint64_t len, uint8_t *buf,
	struct err *err)
{
	while (len) {
		size_t i = r->n ? find(r, offset) : 0;
		const struct extent *x = &r->extents[i];
		uint64_t skip, n;
		struct slot *s = NULL;
		int e;

		if (!r->n || offset - x->offset >= x->length)
			return err_bug(err, "there is no extent for offset %lu", offset);
		skip = offset - x->offset;
		n = x->length - skip < len ? x->length - skip : len;
		if (n < x->length && x->bytes == x->length &&
			filter_chain_has_random_access(r->chain, x->applied)) {
			e = get_part(r, x, i, skip, (uint32_t)n, buf, err);
		} else {
			e = get_slot(r, i, &s, err);
			if (e == 0)
				memcpy(buf, s->pages + skip, n);
		}
		if (e < 0)
			return e;
		offset += n;
		buf += n;
		len -= n;
	}
	return 0;
}
