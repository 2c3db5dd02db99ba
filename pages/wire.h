/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page server's protocol, as CRIU speaks it: a head, behind "add" with RUN_PRESENT the bytes of
 * the pages, sometimes an answer. All numbers are little-endian. Two releases differ in the head:
 *
 *   24 bytes (before 4.2)   cmd, pages (32 bits each), vaddr, object (64 bits each)
 *   32 bytes (since 4.2)    cmd, nothing (32 bits each), pages, vaddr, object (64 bits each)
 */
#pragma once
#include "base/err.h"
#include "image/types.h"
#include "pages/conn.h"

enum wire_cmd {
	WIRE_ADD_OLD = 1, /* add, RUN_PRESENT */
	WIRE_HOLE_OLD = 2, /* add, RUN_PARENT */
	WIRE_OPEN_OLD = 3, /* begins an object */
	WIRE_OPEN = 4, /* the same; answer: one byte, 1 if its parent images exist */
	WIRE_PARENT = 5, /* answer: 32 bits, 1 if parent images of the object exist */
	WIRE_ADD = 6, /* pages of the object that was opened last */
	WIRE_GET = 7, /* lazy: asks for pages; object is a pid. Answer: add with the pages */
	WIRE_CLOSE = 0x1023, /* that was all; answer: 32 bits, 0 or a failure */
	WIRE_FORCE_CLOSE = 0x1024,
};

enum { WIRE_HEAD_OLD = 24, WIRE_HEAD = 32 };

struct wire_head {
	uint32_t cmd; /* enum wire_cmd */
	uint32_t flags; /* enum run_flags */
	uint64_t pages, vaddr, object;
};

/* The number of a task or shared object on the wire. */
uint64_t wire_object(enum image_id type, unsigned long id);
/* The reverse, also of the numbers of older releases. -EPROTO if it is none. */
int wire_object_parse(uint64_t object, enum image_id *ret_type, unsigned long *ret_id) must_use;

/* Into buf, which has room for WIRE_HEAD; returns `size`. */
size_t wire_pack(const struct wire_head *h, size_t size, uint8_t *buf);
void wire_parse(const uint8_t *buf, size_t size, struct wire_head *ret);
/* Reads a head of `size` bytes: 1, or 0 at the end of the stream. */
int wire_read(struct conn *c, size_t size, struct wire_head *ret, struct err *err) must_use;
/* Whether a connection has begun with so much that it can be judged: of n bytes at most WIRE_HEAD_OLD. */
bool wire_is_begun(const uint8_t *bytes, size_t n);
/*
 * Reads the first head and finds out its size, which the first command that names an object allows.
 * Size 0: it was WIRE_FILES instead.
 */
int wire_read_first(struct conn *c, size_t *ret_size, struct wire_head *ret, struct err *err)
	must_use;

/*
 * torpor's own form, for pages that went through filters: pagemaps stay with the other images, and
 * pages files are sent as they are, so the server needs neither filters nor keys. It begins with
 * WIRE_FILES, then come frames of 16 bytes and what belongs to them:
 *
 *   kind (32 bits), nothing (32 bits), number (64 bits)
 *
 * The answer to FRAME_CLOSE is 32 bits, 0 or an errno, 32 bits of length, and a sentence. A failure is
 * told as soon as it is known, unasked, on the first connection: the sender need not go on, but may.
 *
 * With several connections each begins with WIRE_FILES and FRAME_JOIN. The first one says when files
 * begin and, with FRAME_END, how long they are; the others bring what is in them, in any order:
 * FRAME_FILE, FRAME_AT, FRAME_DATA. They are closed before the first one is.
 */
#define WIRE_FILES 0x31505054u /* no command of the other form begins like this */

enum frame_kind {
	FRAME_FILE = 1, /* number: N of pages-N.img */
	FRAME_DATA = 2, /* number: bytes that follow */
	FRAME_HOLE = 3, /* number: bytes that are zeros */
	FRAME_END = 4, /* of the file; with several connections, number: its length in bytes */
	FRAME_CLOSE = 5, /* that was all */
	FRAME_JOIN = 6, /* number: connections in all, above them FRAME_TOKEN_AT bits of a random number */
	FRAME_AT = 7, /* number: where in the file the next data belong */
};

enum { FRAME_TOKEN_AT = 8, FRAME_CONNECTIONS_MAX = 17 };

enum { FRAME = 16, FRAME_DATA_MAX = 1 << 24, FRAME_TEXT_MAX = 2048 };

void frame_pack(enum frame_kind kind, uint64_t number, uint8_t buf[FRAME]);
/* 1, or 0 at the end of the stream. */
int frame_read(struct conn *c, uint32_t *ret_kind, uint64_t *ret_number, struct err *err) must_use;
