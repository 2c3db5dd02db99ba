// SPDX-License-Identifier: GPL-2.0-or-later
/* See names/ghost_coded.h. */
#include "names/ghost_coded.h"
#include "base/cleanup.h"
#include "base/far.h"
#include "base/io.h"
#include <errno.h>
#include <string.h>

/* Numbers of ghosts among the objects whose serials must differ: apart from those of pages files. */
#define GHOST_OBJECT 0x80000000u

static uint32_t up_to_page(uint64_t n)
{
	return (uint32_t)((n + TORPOR_FILTER_PAGE - 1) / TORPOR_FILTER_PAGE * TORPOR_FILTER_PAGE);
}

static struct torpor_extent extent_of(const struct image_set *images, uint32_t ghost,
	uint64_t off, uint64_t len, uint32_t serial)
{
	struct torpor_extent x = { .object = ghost, .address = off, .kind = TORPOR_OBJECT_FILE,
		.serial = (uint64_t)(GHOST_OBJECT | ghost) << 32 | serial,
		.generation = image_set_generation(images), .length = up_to_page(len) };

	memcpy(x.dump, image_set_dump_id(images), sizeof(x.dump));
	return x;
}

static int put_extent(struct image_set *images, struct image_writer *w, uint32_t ghost,
	uint64_t off, uint64_t len, uint32_t serial, const uint8_t *in, uint8_t *out,
	struct err *err)
{
	const struct image_codec *codec = image_set_codec(images);
	struct torpor_extent x = extent_of(images, ghost, off, len, serial);
	GhostChunkEntry c = GHOST_CHUNK_ENTRY__INIT;
	int r = codec->encode(codec->chain, &x, in, out, &c.extent_bytes, err);

	c.off = off;
	c.len = len;
	c.has_extent_bytes = c.has_extent_filters = true;
	c.extent_filters = x.applied;
	if (r == 0)
		r = image_put(w, &c, err);
	return r < 0 ? r : image_put_payload(w, out, c.extent_bytes, err);
}

int ghost_put_coded(struct image_set *images, struct image_writer *w, uint32_t ghost, int fd,
	uint64_t at, uint64_t end, uint32_t *serial, const char *who, struct err *err)
{
	auto_free uint8_t *in = malloc(GHOST_EXTENT);
	auto_free uint8_t *out = malloc(GHOST_EXTENT + image_set_codec(images)->expansion);
	int r = in && out ? 0 : err_nomem(err);

	for (uint64_t n; at < end && r == 0; at += n) {
		n = end - at < GHOST_EXTENT ? end - at : GHOST_EXTENT;
		memset(in + n, 0, up_to_page(n) - n);
		r = far_pread_all(fd, in, n, (off_t)at);
		if (r < 0)
			return err_sysn(err, -r, "%s: cannot read its deleted file", who);
		r = put_extent(images, w, ghost, at, n, (*serial)++, in, out, err);
	}
	return r;
}

int ghost_get_coded(struct image_set *images, struct image_reader *r, uint32_t ghost,
	const GhostChunkEntry *c, uint32_t serial, int fd, struct err *err)
{
	const struct image_codec *codec = image_set_codec(images);
	auto_free uint8_t *in = NULL;
	auto_free uint8_t *out = NULL;
	struct torpor_extent x;
	int e;

	if (!c->has_extent_bytes || !c->has_extent_filters || !c->len || c->len > GHOST_EXTENT ||
		c->extent_bytes > GHOST_EXTENT + codec->expansion)
		return err_image(err, "'%s' has a chunk of %lu bytes that cannot be an extent",
			image_reader_name(r), c->len);
	x = extent_of(images, ghost, c->off, c->len, serial);
	x.applied = c->extent_filters;
	in = malloc(c->extent_bytes + 1u);
	out = malloc(x.length);
	if (!in || !out)
		return err_nomem(err);
	e = image_payload(r, in, c->extent_bytes, err);
	if (e == 0)
		e = codec->decode(codec->chain, &x, in, c->extent_bytes, out, err);
	if (e < 0)
		return err_while(err, "decoding '%s' at 0x%lx", image_reader_name(r), c->off);
	e = io_pwrite_all(fd, out, c->len, (off_t)c->off);
	return e < 0 ? err_sysn(err, -e, "cannot write a deleted file of '%s'",
			       image_reader_name(r)) : 0;
}
