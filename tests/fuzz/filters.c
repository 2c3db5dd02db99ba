// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: bytes for the decoders of page filters. The first byte chooses one, the second a length.
 * If the first byte is 128 or more, the third says how many of the next bytes, times 16, are what the
 * image has as the filter's params.
 */
#include "pages/builtin.h"
#include "pages/filter.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct opened {
	void *state, *worker;
};

static const uint8_t key[TORPOR_FILTER_KEY] = { 1 };

/* Only params may be refused. */
static bool open_filter(const struct torpor_page_filter *f, const uint8_t *params, size_t len,
	struct opened *o)
{
	struct torpor_filter_setup setup = { .key = key, .params = params, .params_len = len };

	if (f->open(&setup, &o->state) < 0) {
		if (!len)
			abort();
		return false;
	}
	o->worker = o->state;
	if (f->worker_open && f->worker_open(o->state, &o->worker) < 0)
		abort();
	return true;
}

static void close_filter(const struct torpor_page_filter *f, struct opened *o)
{
	if (f->worker_close)
		f->worker_close(o->worker);
	f->close(o->state);
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
	const struct torpor_page_filter *f;
	struct opened own = { 0 };
	size_t n = 0, which, len;
	uint32_t length;

	while (page_filters[n])
		n++;
	if (size < 3)
		return 0;
	which = data[0] % 128 % n;
	f = page_filters[which];
	length = (data[1] % 64 + 1u) * PAGE;
	if (data[0] < 128) {
		if (!opened[which].worker && !opened[which].state)
			open_filter(f, NULL, 0, &opened[which]);
		decode(f, &opened[which], length, data + 2, size - 2);
		return 0;
	}
	len = data[2] * 16u < size - 3 ? data[2] * 16u : size - 3;
	if (!open_filter(f, data + 3, len, &own))
		return 0;
	decode(f, &own, length, data + 3 + len, size - 3 - len);
	close_filter(f, &own);
	return 0;
}
