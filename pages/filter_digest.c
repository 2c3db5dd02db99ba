// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * digest: finds damage (not malice: anybody can make the hash). Format: the XXH3-128 hash of the
 * input, low half first, then the input. The seed of the hash is the XXH3-64 hash of the packed
 * extent (torpor_extent_pack()), so that bytes of another extent are damage too.
 */
#include "pages/builtin.h"
#include <errno.h>
#include <string.h>
#include <xxhash.h>

enum { DIGEST = 16 };

static int digest_open(struct torpor_filter_setup *setup, void **state)
{
	if (!setup->options)
		return 0;
	strcpy(setup->error, "it has no options");
	return -EINVAL;
}

static void digest_close(void *state)
{
}

static void put_le64(uint8_t *to, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(v >> 8 * i);
}

static void digest(const struct torpor_extent *x, const uint8_t *in, size_t len, uint8_t *to)
{
	uint8_t id[TORPOR_EXTENT_PACKED];
	XXH128_hash_t h;

	torpor_extent_pack(x, id);
	h = XXH3_128bits_withSeed(in, len, XXH3_64bits(id, sizeof(id)));
	put_le64(to, h.low64);
	put_le64(to + 8, h.high64);
}

static int64_t digest_encode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	if (room < len + DIGEST)
		return -E2BIG;
	digest(x, in, len, out);
	memcpy(out + DIGEST, in, len);
	return (int64_t)(len + DIGEST);
}

static int64_t digest_decode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	uint8_t found[DIGEST];

	if (len < DIGEST || room < len - DIGEST)
		return -EBADMSG;
	digest(x, in + DIGEST, len - DIGEST, found);
	if (memcmp(found, in, DIGEST))
		return -EBADMSG;
	memcpy(out, in + DIGEST, len - DIGEST);
	return (int64_t)(len - DIGEST);
}

const struct torpor_page_filter page_filter_digest = {
	.abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter),
	.name = "digest",
	.summary = "finds damage by a 128-bit hash",
	.caps = TORPOR_FILTER_ALWAYS,
	.expansion = DIGEST,
	.open = digest_open,
	.close = digest_close,
	.encode = digest_encode,
	.decode = digest_decode,
};
