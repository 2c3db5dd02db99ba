// SPDX-License-Identifier: GPL-2.0-or-later
/* zero: an extent of one and the same byte becomes that byte. Format: the byte. */
#include "pages/builtin.h"
#include <errno.h>
#include <string.h>

static int zero_open(struct torpor_filter_setup *setup, void **state)
{
	if (!setup->options)
		return 0;
	strcpy(setup->error, "it has no options");
	return -EINVAL;
}

static void zero_close(void *state)
{
}

static int64_t zero_encode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	/* all are the same if each is equal to the next; memcmp stops at the first that is not */
	if (!room || len != x->length || memcmp(in, in + 1, len - 1))
		return -E2BIG;
	*out = *in;
	return 1;
}

static int64_t zero_decode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	if (len != 1 || room < x->length)
		return -EBADMSG;
	memset(out, *in, x->length);
	return x->length;
}

const struct torpor_page_filter page_filter_zero = {
	.abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter),
	.name = "zero",
	.summary = "extents of one repeated byte become that byte",
	.open = zero_open,
	.close = zero_close,
	.encode = zero_encode,
	.decode = zero_decode,
};
