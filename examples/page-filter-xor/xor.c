/* SPDX-License-Identifier: MIT */
/*
 * xor[:NUMBER]: a page filter that does next to nothing, to start one of your own from. Every byte
 * is combined with NUMBER (1 to 255, 90 if not said). That is no encryption.
 *
 * It shows options and params, the random access capability, and how little else is needed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <torpor/page_filter.h>

struct state {
	uint8_t number; /* what encode() and decode() use; it is also the params */
};

/* At a dump there may be options, at a restore there are the params of the dump. */
static int xor_open(struct torpor_filter_setup *setup, void **state)
{
	unsigned long number = 90;
	struct state *s;
	char *end;

	if (setup->options) {
		number = strtoul(setup->options, &end, 0);
		if (*end || number < 1 || number > 255) {
			snprintf(setup->error, sizeof(setup->error), "its option is a number, 1 to 255");
			return -EINVAL;
		}
	}
	if (setup->params) {
		if (setup->params_len != 1)
			return -EINVAL;
		number = *(const uint8_t *)setup->params;
	}
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->number = (uint8_t)number;
	*state = s;
	return 0;
}

static const void *xor_params(const void *state, size_t *ret_len)
{
	*ret_len = 1;
	return &((const struct state *)state)->number;
}

/* There are no workers: what is passed for one is the state. Both directions are the same. */
static int64_t xor_bytes(void *worker, const struct torpor_extent *x, const uint8_t *in, size_t len,
	uint8_t *out, size_t room)
{
	const struct state *s = worker;

	(void)x;
	if (room < len)
		return -E2BIG;
	for (size_t i = 0; i < len; i++)
		out[i] = in[i] ^ s->number;
	return (int64_t)len;
}

const struct torpor_page_filter torpor_page_filter = {
	.abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter),
	.name = "xor",
	.summary = "changes every byte in the same way",
	/* ALWAYS: nothing gets shorter; RANDOM_ACCESS: each byte stays where it is */
	.caps = TORPOR_FILTER_RANDOM_ACCESS | TORPOR_FILTER_ALWAYS,
	.open = xor_open,
	.close = free,
	.params = xor_params,
	.encode = xor_bytes,
	.decode = xor_bytes,
};
