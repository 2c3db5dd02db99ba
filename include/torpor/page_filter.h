/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page filters: what is done to memory between a task and the images, and undone on the way back.
 *
 * A filter is one const struct: built-in filters and those of shared objects look the same. To
 * write one, read docs/HOWTO-write-a-page-filter.md and examples/page-filter-xor/.
 *
 * What passes through a filter is an extent: 4 KiB to 256 KiB of whole pages of one object (a
 * task's memory, a shared memory object, a file's content). Filters stand in a chain; encode() of
 * the first gets the pages, every other one what the one before it made; decode() is called in
 * reverse order.
 *
 * Rules
 *
 *   stateless   The result depends on the extent and on what open() and train() were given, on
 *               nothing else: extents are encoded by several threads at once and decoded in any
 *               order, one alone or one twice.
 *   no I/O      A filter neither reads nor writes files, nor does it keep bytes of an extent.
 *   hostile     decode() gets bytes that anybody may have changed. It must not read or write
 *               outside of what it was given, and says -EBADMSG instead of guessing.
 *   skipped     An extent which a filter does not shrink passes it unchanged, unless the filter has
 *               TORPOR_FILTER_ALWAYS. Which filters were applied is kept with every extent.
 *
 * Order of calls
 *
 *   dump        open(options) [train()] [params()] { worker_open() encode()... worker_close() } close()
 *   restore     open(params)                       { worker_open() decode()... worker_close() } close()
 *
 * open(), train(), params() and close() are called by one thread. A worker belongs to one thread at
 * a time; the state is not changed while workers exist.
 *
 * Versions: members are only ever appended, and a host looks at no member beyond `size`. A change
 * of what exists raises TORPOR_PAGE_FILTER_ABI, and hosts refuse other values by name.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TORPOR_PAGE_FILTER_ABI 1u

/* Name of the object of type `struct torpor_page_filter` which a shared object defines. */
#define TORPOR_PAGE_FILTER_SYMBOL "torpor_page_filter"

enum {
	TORPOR_FILTER_PAGE = 4096, /* extents are multiples of it, up to the next one */
	TORPOR_FILTER_EXTENT_MAX = 256 * 1024,
	TORPOR_FILTER_EXPANSION_MAX = 4096, /* the most that `expansion` may say */
	TORPOR_FILTER_PARAMS_MAX = 1024 * 1024,
	TORPOR_FILTER_KEY = 32, /* bytes of a key */
	TORPOR_FILTER_ERROR = 200,
};

enum torpor_filter_caps {
	/*
	 * The result has the length of the input, and each page of it depends on the same page of the
	 * input and nothing else, not on the struct torpor_extent either: decode() may be given any
	 * pages of an extent alone. Needs ALWAYS and an expansion of 0.
	 */
	TORPOR_FILTER_RANDOM_ACCESS = 1,
	/* A page of zeros becomes a page of zeros at the same place: it may be a hole in a file. */
	TORPOR_FILTER_KEEPS_ZEROS = 2,
	/* open() must be given a key; nothing but the key keeps the content secret. */
	TORPOR_FILTER_NEEDS_KEY = 4,
	/* Applied to every extent, also when it makes it longer (by at most `expansion`). */
	TORPOR_FILTER_ALWAYS = 8,
	/*
	 * decode() refuses (-EBADMSG) whatever was not made by encode() with this key for the very
	 * same struct torpor_extent. Needs ALWAYS.
	 */
	TORPOR_FILTER_AUTHENTIC = 16,
};

enum torpor_object_kind {
	TORPOR_OBJECT_TASK = 1, /* id: the pid, address: a virtual address */
	TORPOR_OBJECT_SHARED = 2, /* id: number of the object, address: offset in it */
	TORPOR_OBJECT_FILE = 3, /* id: number of a deleted file, address: offset in it */
};

/*
 * Which extent this is. Both directions are given the same values, but what decode() gets comes
 * from images: AUTHENTIC filters bind every member (torpor_extent_pack() puts them in order).
 */
struct torpor_extent {
	uint8_t dump[16]; /* random number of the dump that encoded it */
	uint64_t object; /* id, by kind */
	uint64_t address; /* of its first page; the following ones need not be adjacent */
	/*
	 * No two extents encoded with one key have the same serial: fit for nonces. Encoding the same
	 * pages again under the same serial must give the same bytes.
	 */
	uint64_t serial;
	uint32_t kind; /* enum torpor_object_kind */
	uint32_t generation; /* 0, or one more than that of the dump this one is an increment to */
	uint32_t length; /* bytes of its pages, before the first filter */
	uint32_t applied; /* bit i: filter i of the chain, which stands before this one, was applied */
};

/* The members in the order of the struct, little-endian, without gaps: what is authenticated. */
enum { TORPOR_EXTENT_PACKED = 56 };

static inline void torpor_extent_pack(const struct torpor_extent *x, uint8_t *to)
{
	const uint64_t numbers[] = { x->object, x->address, x->serial,
		(uint64_t)x->generation << 32 | x->kind, (uint64_t)x->applied << 32 | x->length };

	for (size_t i = 0; i < sizeof(x->dump); i++)
		to[i] = x->dump[i];
	for (size_t i = sizeof(x->dump); i < TORPOR_EXTENT_PACKED; i++)
		to[i] = (uint8_t)(numbers[i / 8 - 2] >> i % 8 * 8);
}

/* What open() gets. */
struct torpor_filter_setup {
	const char *options; /* dump: what the user wrote behind "NAME:", or NULL; restore: NULL */
	const void *params; /* restore: what params() gave at the dump; else NULL */
	size_t params_len;
	const uint8_t *key; /* TORPOR_FILTER_KEY bytes if NEEDS_KEY, there until close(); else NULL */
	/* For a sentence (no period) that says what is wrong with the options, when open() fails. */
	char error[TORPOR_FILTER_ERROR];
};

/*
 * Results: 0 or a length, or a negative errno. -EBADMSG: the bytes are damaged or not authentic;
 * -E2BIG: the result does not fit; -ENOMEM; -EINVAL: open() does not like its options or params.
 */
struct torpor_page_filter {
	uint32_t abi; /* TORPOR_PAGE_FILTER_ABI */
	uint32_t size; /* sizeof(struct torpor_page_filter) */
	const char *name; /* 1 to 31 of a-z 0-9 -, not "plain"; it stands in images */
	const char *summary; /* a few words for people */
	uint32_t caps; /* enum torpor_filter_caps */
	uint32_t expansion; /* the most bytes by which a result is longer than its input */

	/* *state is NULL before; may be left so. On failure nothing is left behind. */
	int (*open)(struct torpor_filter_setup *setup, void **state);
	void (*close)(void *state);

	/*
	 * May both be NULL. At the dump, once, before the first encode(): if sample_bytes() says more
	 * than 0, train() gets samples of what is to come, one after the other, n of them, together at
	 * most so many bytes. Only a failure of the machine is one: a filter that cannot use the
	 * samples goes on without.
	 */
	size_t (*sample_bytes)(const void *state);
	int (*train)(void *state, const uint8_t *samples, const size_t *sizes, size_t n);

	/* May be NULL: what open() needs to decode. The bytes are the state's. */
	const void *(*params)(const void *state, size_t *ret_len);

	/* May both be NULL: then worker is the state. *worker is NULL before. */
	int (*worker_open)(void *state, void **worker);
	void (*worker_close)(void *worker);

	/*
	 * Writes the encoded form of len bytes to out and returns its length, 1 to room. room is
	 * len + expansion with ALWAYS, otherwise len - 1: a result that does not fit is -E2BIG, and the
	 * extent passes the filter unchanged.
	 */
	int64_t (*encode)(void *worker, const struct torpor_extent *x, const uint8_t *in, size_t len,
		uint8_t *out, size_t room);
	/* The reverse; room is at least as large as what encode() was given. */
	int64_t (*decode)(void *worker, const struct torpor_extent *x, const uint8_t *in, size_t len,
		uint8_t *out, size_t room);
};

#ifdef __cplusplus
}
#endif
