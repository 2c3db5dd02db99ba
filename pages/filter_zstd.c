// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * zstd[:LEVEL][,dict]: compression. Format: one Zstandard frame (RFC 8878). With "dict" a
 * dictionary is trained from samples of the memory to be saved, before the first extent; it is the
 * params, and every frame was made with it.
 */
#include "base/parse.h"
#include "pages/builtin.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zdict.h>
#include <zstd.h>

enum {
	LEVEL = 1,
	LEVEL_LEAST = -50,
	DICT_BYTES = 64 * 1024,
	SAMPLE_BYTES = 2 * 1024 * 1024, /* a third of a second */
	SAMPLES_LEAST = 16, /* fewer teach nothing */
};

struct zstd_state {
	int level;
	bool wants_dict;
	void *dict;
	size_t dict_len;
	ZSTD_CDict *for_encode;
	ZSTD_DDict *for_decode;
};

struct zstd_worker {
	const struct zstd_state *state;
	ZSTD_CCtx *encoder;
	ZSTD_DCtx *decoder;
};

static void zstd_close(void *state)
{
	struct zstd_state *s = state;

	ZSTD_freeCDict(s->for_encode);
	ZSTD_freeDDict(s->for_decode);
	free(s->dict);
	free(s);
}

/* "", "LEVEL", "dict", "LEVEL,dict" */
static bool parse_options(const char *text, struct zstd_state *s)
{
	struct cursor c = cursor_of(text);
	int64_t level = LEVEL;

	if (parse_i64(&c, &level) && !cursor_done(&c) && !parse_lit(&c, ","))
		return false;
	if (!cursor_done(&c)) {
		if (!parse_lit(&c, "dict"))
			return false;
		s->wants_dict = true;
	}
	if (level < LEVEL_LEAST || level > ZSTD_maxCLevel())
		return false;
	s->level = (int)level;
	return cursor_done(&c);
}

static int set_dict(struct zstd_state *s, const void *dict, size_t len)
{
	s->dict = malloc(len);
	if (!s->dict)
		return -ENOMEM;
	memcpy(s->dict, dict, len);
	s->dict_len = len;
	s->for_encode = ZSTD_createCDict(s->dict, len, s->level);
	s->for_decode = ZSTD_createDDict(s->dict, len);
	return s->for_encode && s->for_decode ? 0 : -ENOMEM;
}

static int zstd_open(struct torpor_filter_setup *setup, void **state)
{
	struct zstd_state *s = calloc(1, sizeof(*s));
	int r = 0;

	if (!s)
		return -ENOMEM;
	s->level = LEVEL;
	if (setup->options && !parse_options(setup->options, s)) {
		snprintf(setup->error, sizeof(setup->error),
			"its options are a level from %d to %d and 'dict'", LEVEL_LEAST,
			ZSTD_maxCLevel());
		r = -EINVAL;
	}
	if (r == 0 && setup->params_len)
		r = set_dict(s, setup->params, setup->params_len);
	if (r < 0) {
		zstd_close(s);
		return r;
	}
	*state = s;
	return 0;
}

static int zstd_train(void *state, const uint8_t *samples, const size_t *sizes, size_t n)
{
	struct zstd_state *s = state;
	void *dict;
	size_t len;
	int r = 0;

	if (!s->wants_dict || n < SAMPLES_LEAST)
		return 0;
	dict = malloc(DICT_BYTES);
	if (!dict)
		return -ENOMEM;
	len = ZDICT_trainFromBuffer(dict, DICT_BYTES, samples, sizes, (unsigned)n);
	if (!ZDICT_isError(len))
		r = set_dict(s, dict, len);
	free(dict);
	return r;
}

static const void *zstd_params(const void *state, size_t *ret_len)
{
	const struct zstd_state *s = state;

	*ret_len = s->dict_len;
	return s->dict;
}

static size_t zstd_sample_bytes(const void *state)
{
	return ((const struct zstd_state *)state)->wants_dict ? SAMPLE_BYTES : 0;
}

static void zstd_worker_close(void *worker)
{
	struct zstd_worker *w = worker;

	ZSTD_freeCCtx(w->encoder);
	ZSTD_freeDCtx(w->decoder);
	free(w);
}

static int zstd_worker_open(void *state, void **worker)
{
	struct zstd_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->state = state;
	*worker = w;
	return 0;
}

/* Contexts are made when they are needed: a worker goes one way only. */
static int64_t zstd_encode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	struct zstd_worker *w = worker;
	size_t n;

	if (!w->encoder)
		w->encoder = ZSTD_createCCtx();
	if (!w->encoder)
		return -ENOMEM;
	if (w->state->for_encode)
		n = ZSTD_compress_usingCDict(w->encoder, out, room, in, len, w->state->for_encode);
	else
		n = ZSTD_compressCCtx(w->encoder, out, room, in, len, w->state->level);
	return ZSTD_isError(n) ? -E2BIG : (int64_t)n;
}

static int64_t zstd_decode(void *worker, const struct torpor_extent *x, const uint8_t *in,
	size_t len, uint8_t *out, size_t room)
{
	struct zstd_worker *w = worker;
	size_t n;

	if (!w->decoder)
		w->decoder = ZSTD_createDCtx();
	if (!w->decoder)
		return -ENOMEM;
	if (w->state->for_decode)
		n = ZSTD_decompress_usingDDict(w->decoder, out, room, in, len,
			w->state->for_decode);
	else
		n = ZSTD_decompressDCtx(w->decoder, out, room, in, len);
	return ZSTD_isError(n) ? -EBADMSG : (int64_t)n;
}

const struct torpor_page_filter page_filter_zstd = {
	.abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter),
	.name = "zstd",
	.summary = "compression, levels -50 to 22, trained dictionary",
	.open = zstd_open,
	.close = zstd_close,
	.sample_bytes = zstd_sample_bytes,
	.train = zstd_train,
	.params = zstd_params,
	.worker_open = zstd_worker_open,
	.worker_close = zstd_worker_close,
	.encode = zstd_encode,
	.decode = zstd_decode,
};
