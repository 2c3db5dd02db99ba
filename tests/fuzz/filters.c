// SPDX-License-Identifier: GPL-2.0-or-later
/* libFuzzer: bytes for the decoders of page filters. The first byte chooses one, the second a length. */
#include "pages/builtin.h"
#include "pages/filter.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct opened {
	void *state, *worker;
};

static void open_filter(const struct torpor_page_filter *f, struct opened *o)
{
	static const uint8_t key[TORPOR_FILTER_KEY] = { 1 };
	struct torpor_filter_setup setup = { .key = key };

	if (f->open(&setup, &o->state) < 0)
		abort();
	o->worker = o->state;
	if (f->worker_open && f->worker_open(o->state, &o->worker) < 0)
		abort();
}

/* The room is exactly as large as the result may be, so that one byte more is found. */
static void decode(const struct torpor_page_filter *f, struct opened *o, uint32_t length,
	const uint8_t *data, size_t size)
{
	struct torpor_extent x = { .length = length };
	uint8_t *in = malloc(size ? size : 1), *out = malloc(length);
	int64_t n;

	memcpy(in, data, size);
	n = f->decode(o->worker, &x, in, size, out, length);
	if (n > (int64_t)length)
		abort();
	free(in);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct opened opened[8];
	size_t n = 0, which;

	while (page_filters[n])
		n++;
	if (size < 2)
		return 0;
	which = data[0] % n;
	if (!opened[which].worker)
		open_filter(page_filters[which], &opened[which]);
	decode(page_filters[which], &opened[which], (data[1] % 64 + 1u) * PAGE, data + 2, size - 2);
	return 0;
}
