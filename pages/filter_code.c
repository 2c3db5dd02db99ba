// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Extents through a chain of filters and back (pages/filter.h). Each thread has workers of its own,
 * which are started when they are first needed, and two buffers between which an extent goes from
 * filter to filter.
 */
#include "pages/filter_priv.h"
#include <stdlib.h>
#include <string.h>

/* Shorter inputs are not worth another filter. */
enum { SHRINK_FROM = 64 };

static int coder_ready(struct filter_chain *c, struct coder *coder, size_t i, struct err *err)
{
	const struct link *l = &c->links[i];
	int r = 0;

	if (coder->open[i])
		return 0;
	coder->workers[i] = l->filter->worker_open ? NULL : l->state;
	if (l->filter->worker_open)
		r = l->filter->worker_open(l->state, &coder->workers[i]);
	if (r < 0)
		return err_sysn(err, -r, "page filter '%s' cannot be started", l->filter->name);
	coder->open[i] = true;
	return 0;
}

static int coder_of(struct filter_chain *c, unsigned worker, struct coder **ret, struct err *err)
{
	struct coder *coder = &c->coders[worker];

	for (int i = 0; i < 2; i++) {
		if (!coder->scratch[i])
			coder->scratch[i] = malloc(TORPOR_FILTER_EXTENT_MAX + c->expansion);
		if (!coder->scratch[i])
			return err_nomem(err);
	}
	*ret = coder;
	return 0;
}

/* 1: applied, *len is the new length; 0: passed by. */
static int encode_by(struct filter_chain *c, struct coder *coder, size_t i,
	const struct torpor_extent *x, const uint8_t *in, size_t *len, uint8_t *out, struct err *err)
{
	const struct torpor_page_filter *f = c->links[i].filter;
	bool always = f->caps & TORPOR_FILTER_ALWAYS;
	size_t room = always ? *len + f->expansion : *len - 1;
	int64_t n;
	int r;

	if (!always && *len < SHRINK_FROM)
		return 0;
	r = coder_ready(c, coder, i, err);
	if (r < 0)
		return r;
	n = f->encode(coder->workers[i], x, in, *len, out, room);
	if (n == -E2BIG && !always)
		return 0;
	if (n < 0)
		return err_sysn(err, (int)-n, "page filter '%s' failed", f->name);
	if (n == 0 || (uint64_t)n > room)
		return err_bug(err, "page filter '%s' made %ld bytes of %zu", f->name, (long)n, *len);
	*len = (size_t)n;
	return 1;
}

int filter_encode(struct filter_chain *c, unsigned worker, const struct torpor_extent *x,
	const uint8_t *in, uint8_t *out, struct extent *ret, struct err *err)
{
	struct torpor_extent id = *x;
	const uint8_t *at = in;
	struct coder *coder;
	size_t len = x->length;
	int r = coder_of(c, worker, &coder, err);

	id.applied = 0;
	for (size_t i = 0; i < c->n && r >= 0; i++) {
		uint8_t *to = at == coder->scratch[0] ? coder->scratch[1] : coder->scratch[0];

		if (i == c->n - 1)
			to = out;
		r = encode_by(c, coder, i, &id, at, &len, to, err);
		if (r > 0) {
			id.applied |= 1u << i;
			at = to;
		}
	}
	if (r < 0)
		return r;
	if (id.applied && at != out)
		memcpy(out, at, len);
	ret->applied = id.applied;
	ret->bytes = (uint32_t)len;
	return 0;
}

static int decode_by(struct filter_chain *c, struct coder *coder, size_t i,
	const struct torpor_extent *x, const uint8_t *in, size_t *len, uint8_t *out, size_t room,
	struct err *err)
{
	const struct torpor_page_filter *f = c->links[i].filter;
	int64_t n;
	int r = coder_ready(c, coder, i, err);

	if (r < 0)
		return r;
	n = f->decode(coder->workers[i], x, in, *len, out, room);
	if (n == -EBADMSG || n == 0 || (n > 0 && (uint64_t)n > room))
		return err_image(err, f->caps & TORPOR_FILTER_AUTHENTIC ?
			"page filter '%s' finds bytes that were changed or moved" :
			"page filter '%s' finds damaged bytes", f->name);
	if (n < 0)
		return err_sysn(err, (int)-n, "page filter '%s' failed", f->name);
	*len = (size_t)n;
	return 0;
}

static int check_mask(const struct filter_chain *c, uint32_t applied, struct err *err)
{
	uint32_t missing = c->always & ~applied;

	if (applied >> c->n)
		return err_image(err, "it was made by filters (0x%x) that the images do not name",
			applied);
	if (missing)
		return err_image(err, "it did not go through page filter '%s', as all must",
			c->links[__builtin_ctz(missing)].filter->name);
	return 0;
}

int filter_decode(struct filter_chain *c, unsigned worker, const struct torpor_extent *x,
	const uint8_t *in, size_t bytes, uint8_t *out, struct err *err)
{
	struct torpor_extent id = *x;
	const uint8_t *at = in;
	struct coder *coder;
	size_t len = bytes;
	int r = check_mask(c, x->applied, err);

	if (r == 0)
		r = coder_of(c, worker, &coder, err);
	for (size_t i = c->n; i-- > 0 && r == 0;) {
		uint8_t *to = out;
		size_t room = x->length;

		if (!(x->applied & 1u << i))
			continue;
		id.applied &= (1u << i) - 1;
		if (id.applied) {
			to = at == coder->scratch[0] ? coder->scratch[1] : coder->scratch[0];
			room += c->expansion;
		}
		r = decode_by(c, coder, i, &id, at, &len, to, room, err);
		at = to;
	}
	if (r == 0 && len != x->length)
		r = err_image(err, "page filters make %zu bytes of it, not %u: it is damaged", len,
			x->length);
	if (r == 0 && at == in)
		memcpy(out, in, len);
	return r;
}
