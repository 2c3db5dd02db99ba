/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The chain of page filters of an image set: opened once per set and direction, kept with the set,
 * used by several threads at once. What a filter is: include/torpor/page_filter.h.
 *
 * - The chain encodes an extent by those of its filters that shrink it and by those that are always
 *   applied; which ones that were is a bit mask kept with the extent.
 * - Decoding trusts nothing: a mask without a filter that is always applied is refused, so nobody
 *   can pass plain bytes off as decrypted ones.
 */
#pragma once
#include "options/options.h"
#include "pages/pages.h"

struct filter_chain;

enum { FILTERS_MAX = 16, FILTER_WORKERS = 9 /* CREW_MOST threads and the giver */ };

/* One filter as the user asked for it. */
struct filter_wish {
	const char *name; /* of a filter, or path of a shared object */
	const char *options; /* or NULL */
};

/*
 * Opens the filters for a set that is being written and keeps the chain with it; the set gets the
 * mark of torpor. n is at least 1.
 */
int filter_chain_create(struct image_set *set, const struct filter_wish *wishes, size_t n,
	struct err *err) must_use;
/* How many bytes of samples the filters want before the first extent is encoded; often 0. */
size_t filter_chain_samples(const struct filter_chain *c);
/* Gives them: n samples, one after the other. Both are free()d when they have been learnt from. */
void filter_chain_give_samples(struct filter_chain *c, uint8_t *take_samples, size_t *take_sizes,
	size_t n);
/*
 * Lets the filters of a set that is written learn, and writes the image that says which filters the set
 * has. Happens once, before the first extent: sinks and contents of files call it.
 */
int filter_chain_settle(struct filter_chain *c, struct err *err) must_use;

/*
 * The chain of a set: the one made for it, or the one its image names, which is opened at the first
 * call. NULL if it has none. Borrowed; filter_chain_keep() makes it outlive the set.
 */
int filter_chain_of(struct image_set *set, struct filter_chain **ret, struct err *err) must_use;
struct filter_chain *filter_chain_keep(struct filter_chain *c);
void filter_chain_drop(struct filter_chain *c); /* NULL is fine */

/* What the extents of one object of a set have in common, as far as the set tells. */
void extent_common(const struct image_set *set, enum image_id type, unsigned long id,
	struct torpor_extent *ret);

/*
 * A chain of one cipher whose key nobody else has and which is gone with it: for pages that lie on
 * a disk for a while.
 */
int filter_chain_private(struct filter_chain **ret, struct err *err) must_use;
/* Whether there is more in it than what is about as fast as a copy: ciphers, digests, zeros. */
bool filter_chain_is_slow(const struct filter_chain *c);

/* The most bytes by which an encoded extent is longer than its pages. */
size_t filter_chain_expansion(const struct filter_chain *c);
/* Whether zero bytes in an extent encoded by these filters stand for zero pages. */
bool filter_chain_keeps_zeros(const struct filter_chain *c, uint32_t applied);
/* Whether such an extent can be decoded page by page: its bytes lie where its pages do. */
bool filter_chain_has_random_access(const struct filter_chain *c, uint32_t applied);

/*
 * Encodes x->length bytes. Sets `applied` and `bytes` of the result; with `applied` 0 out was not
 * written: the pages are to be stored as they are. out has room for length + expansion. One call at
 * a time for each worker.
 */
int filter_encode(struct filter_chain *c, unsigned worker, const struct torpor_extent *x,
	const uint8_t *in, uint8_t *out, struct extent *ret, struct err *err) must_use;
/*
 * Decodes `bytes` bytes to exactly x->length; x->applied says by which filters. The sentence of a
 * failure names the filter, not the extent.
 */
int filter_decode(struct filter_chain *c, unsigned worker, const struct torpor_extent *x,
	const uint8_t *in, size_t bytes, uint8_t *out, struct err *err) must_use;

/* ---- filter_ask.c ---- */
/* What the options give to get at images. It borrows from them; keys are read when needed. */
struct image_access access_open(const struct options *o);
void access_close(struct image_access *a); /* after all sets that were opened with it */
/*
 * Prepares a set that is being written, before anything else: encryption and filters as the options
 * ask. Filters which learn are trained later (filter_chain_settle()).
 */
int filter_prepare(struct image_set *set, const struct options *o, struct err *err) must_use;

/* ---- filter_find.c ---- */
/* Built-in filters; ends with NULL. */
extern const struct torpor_page_filter *const page_filters[];
/*
 * A built-in filter, one of a shared object named by path, or NAME.so in the plugin directory.
 * *ret_object is what keeps it loaded (filter_release()), or NULL.
 */
int filter_find(const char *name, const struct image_access *access,
	const struct torpor_page_filter **ret, void **ret_object, struct err *err) must_use;
void filter_release(void *object);
