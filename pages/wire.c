// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/wire.h"
#include "pages/pages.h"
#include <endian.h>
#include <errno.h>
#include <string.h>

enum { TYPE_TASK = 1, TYPE_SHARED = 2 };

/* How a client of TLS begins (RFC 8446, 5.1); the first byte is that of no command. */
enum { TLS_HANDSHAKE = 0x16, TLS_MAJOR = 3 };

uint64_t wire_object(enum image_id type, unsigned long id)
{
	return (uint64_t)id << 8 | (type == IMG_PAGEMAP_SHMEM ? TYPE_SHARED : TYPE_TASK);
}

int wire_object_parse(uint64_t object, enum image_id *ret_type, unsigned long *ret_id)
{
	static const struct {
		uint8_t type;
		enum image_id image;
	} types[] = { { TYPE_TASK, IMG_PAGEMAP }, { TYPE_SHARED, IMG_PAGEMAP_SHMEM },
		/* of older releases */
		{ 10, IMG_PAGEMAP }, { 11, IMG_PAGEMAP }, { 16, IMG_PAGEMAP }, { 17, IMG_PAGEMAP },
		{ 27, IMG_PAGEMAP_SHMEM }, { 28, IMG_PAGEMAP_SHMEM }, { 29, IMG_PAGEMAP_SHMEM },
		{ 32, IMG_PAGEMAP_SHMEM }, { 33, IMG_PAGEMAP_SHMEM }, { 34, IMG_PAGEMAP_SHMEM } };

	for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
		if ((object & 255) != types[i].type)
			continue;
		*ret_type = types[i].image;
		*ret_id = object >> 8;
		return 0;
	}
	return -EPROTO;
}

static void put32(uint8_t *to, uint32_t v)
{
	v = htole32(v);
	memcpy(to, &v, sizeof(v));
}

static void put64(uint8_t *to, uint64_t v)
{
	v = htole64(v);
	memcpy(to, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *from)
{
	uint32_t v;

	memcpy(&v, from, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *from)
{
	uint64_t v;

	memcpy(&v, from, sizeof(v));
	return le64toh(v);
}

size_t wire_pack(const struct wire_head *h, size_t size, uint8_t *buf)
{
	put32(buf, h->cmd | h->flags << 16);
	put32(buf + 4, size == WIRE_HEAD ? 0 : (uint32_t)h->pages);
	if (size == WIRE_HEAD)
		put64(buf + 8, h->pages);
	put64(buf + size - 16, h->vaddr);
	put64(buf + size - 8, h->object);
	return size;
}

void wire_parse(const uint8_t *buf, size_t size, struct wire_head *ret)
{
	uint32_t cmd = get32(buf);

	*ret = (struct wire_head){ .cmd = cmd & 0xffff, .flags = cmd >> 16,
		.pages = size == WIRE_HEAD ? get64(buf + 8) : get32(buf + 4),
		.vaddr = get64(buf + size - 16), .object = get64(buf + size - 8) };
	if (ret->cmd == WIRE_ADD_OLD)
		*ret = (struct wire_head){ WIRE_ADD, RUN_PRESENT, ret->pages, ret->vaddr,
			ret->object };
	else if (ret->cmd == WIRE_HOLE_OLD)
		*ret = (struct wire_head){ WIRE_ADD, RUN_PARENT, ret->pages, ret->vaddr,
			ret->object };
}

/*
 * The first 24 bytes of a command that opens an object have its number at their end, which is never
 * 0, if that is the whole head; else an address there, which is 0. "Get" has no zeros, but an address
 * is a multiple of the page size, and a number of pages is small.
 */
static size_t size_of_first(const uint8_t *buf)
{
	uint64_t second = get64(buf + 8), third = get64(buf + 16);

	if ((get32(buf) & 0xffff) == WIRE_GET)
		return get32(buf + 4) || (second && second % PAGE == 0 && third % PAGE) ?
			WIRE_HEAD_OLD :
			WIRE_HEAD;
	return third || (get32(buf) & 0xffff) >= WIRE_CLOSE ? WIRE_HEAD_OLD : WIRE_HEAD;
}

/* The rest of something whose first bytes came. */
static int read_rest(struct conn *c, uint8_t *buf, size_t len, struct err *err)
{
	int r = len ? conn_read(c, buf, len, err) : 1;

	return r ? r : conn_ended(c, "in the middle of a command", err);
}

bool wire_is_begun(const uint8_t *bytes, size_t n)
{
	return n >= WIRE_HEAD_OLD || (n >= 4 && get32(bytes) == WIRE_FILES);
}

int wire_read_first(struct conn *c, size_t *ret_size, struct wire_head *ret, struct err *err)
{
	uint8_t buf[WIRE_HEAD];
	int r = conn_read(c, buf, 4, err);

	if (r <= 0)
		return r;
	*ret_size = 0;
	if (get32(buf) == WIRE_FILES)
		return 1;
	if (buf[0] == TLS_HANDSHAKE && buf[1] == TLS_MAJOR)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s speaks TLS; give this side --tls as well, or "
			"neither", c->peer);
	r = read_rest(c, buf + 4, WIRE_HEAD_OLD - 4, err);
	if (r < 0)
		return r;
	*ret_size = size_of_first(buf);
	r = read_rest(c, buf + WIRE_HEAD_OLD, *ret_size - WIRE_HEAD_OLD, err);
	if (r > 0)
		wire_parse(buf, *ret_size, ret);
	return r;
}

int wire_read(struct conn *c, size_t size, struct wire_head *ret, struct err *err)
{
	uint8_t buf[WIRE_HEAD];
	int r = conn_read(c, buf, size, err);

	if (r > 0)
		wire_parse(buf, size, ret);
	return r;
}

void frame_pack(enum frame_kind kind, uint64_t number, uint8_t buf[FRAME])
{
	put32(buf, kind);
	put32(buf + 4, 0);
	put64(buf + 8, number);
}

int frame_read(struct conn *c, uint32_t *ret_kind, uint64_t *ret_number, struct err *err)
{
	uint8_t buf[FRAME];
	int r = conn_read(c, buf, sizeof(buf), err);

	if (r > 0) {
		*ret_kind = get32(buf);
		*ret_number = get64(buf + 8);
	}
	return r;
}
