// SPDX-License-Identifier: GPL-2.0-or-later
/* lz4[:ACCELERATION]: fast compression. Format: one LZ4 block (no frame). */
#include "base/parse.h"
#include "pages/builtin.h"
#include <errno.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>

enum { ACCELERATION_MOST = 65537 }; /* what the library takes; above it clamps */

struct lz4_state {
	int acceleration;
};

struct lz4_worker {
	int acceleration;
	_Alignas(16) char room[]; /* LZ4_sizeofState() */
};

static int lz4_open(struct torpor_filter_setup *setup, void **state)
{
	struct lz4_state *s;
	uint32_t n = 1;

	if (setup->options) {
		struct cursor c = cursor_of(setup->options);

		if (!parse_u32(&c, 10, &n) || !cursor_done(&c) || n < 1 || n > ACCELERATION_MOST) {
			snprintf(setup->error, sizeof(setup->error),
				"its option is the acceleration, 1 to %d", ACCELERATION_MOST);
			return -EINVAL;
		}
	}
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->acceleration = (int)n;
	*state = s;
	return 0;
}

static int lz4_worker_open(void *state, void **worker)
{
	const struct lz4_state *s = state;
	struct lz4_worker *w = calloc(1, sizeof(*w) + (size_t)LZ4_sizeofState());

	if (!w)
		return -ENOMEM;
	w->acceleration = s->acceleration;
	*worker = w;
	return 0;
}

static int64_t lz4_encode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	struct lz4_worker *w = worker;
	int n = LZ4_compress_fast_extState(w->room, (const char *)in, (char *)out, (int)len,
		(int)room, w->acceleration);

	return n > 0 ? n : -E2BIG;
}

static int64_t lz4_decode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	int n = LZ4_decompress_safe((const char *)in, (char *)out, (int)len, (int)room);

	return n < 0 ? -EBADMSG : n;
}

const struct torpor_page_filter page_filter_lz4 = {
	.abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter),
	.name = "lz4",
	.summary = "fast compression",
	.open = lz4_open,
	.close = free,
	.worker_open = lz4_worker_open,
	.worker_close = free,
	.encode = lz4_encode,
	.decode = lz4_decode,
};
