// SPDX-License-Identifier: GPL-2.0-or-later
/* Chains of filters (pages/filter.h): how they are opened, kept and recorded. */
#include "pages/filter_priv.h"
#include "base/cleanup.h"
#include "base/kdf.h"
#include "base/secret.h"
#include "pages/builtin.h"
#include "proto/messages.h"
#include <string.h>

/* ------------------------------------------------------------------------------ opening, closing */

static void coder_done(struct filter_chain *c, struct coder *coder)
{
	for (size_t i = 0; i < c->n; i++) {
		if (coder->open[i] && c->links[i].filter->worker_close)
			c->links[i].filter->worker_close(coder->workers[i]);
	}
	free(coder->scratch[0]);
	free(coder->scratch[1]);
}

static void forget_samples(struct filter_chain *c)
{
	free(c->samples);
	free(c->sample_sizes);
	c->samples = NULL;
	c->sample_sizes = NULL;
	c->n_samples = 0;
}

void filter_chain_drop(struct filter_chain *c)
{
	if (!c || atomic_fetch_sub(&c->users, 1) > 1)
		return;
	for (size_t i = 0; i < FILTER_WORKERS; i++)
		coder_done(c, &c->coders[i]);
	for (size_t i = 0; i < c->n; i++) {
		struct link *l = &c->links[i];

		if (l->open)
			l->filter->close(l->state);
		secret_free(l->key);
		filter_release(l->object);
	}
	forget_samples(c);
	free(c);
}

struct filter_chain *filter_chain_keep(struct filter_chain *c)
{
	atomic_fetch_add(&c->users, 1);
	return c;
}

static struct filter_chain *chain_new(void)
{
	struct filter_chain *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->users = 1;
	return c;
}

/* A key of its own for each place in the chain: serials are used by each of them. */
static int link_key(struct link *l, size_t place, const struct image_set *set, struct err *err)
{
	char purpose[64];
	int r;

	if (!(l->filter->caps & TORPOR_FILTER_NEEDS_KEY))
		return 0;
	r = secret_new(&l->key, err);
	snprintf(purpose, sizeof(purpose), "page filter %zu %s", place, l->filter->name);
	return r < 0 ? r : image_set_key(set, purpose, l->key, err);
}

static int chain_add(struct filter_chain *c, const char *name, struct torpor_filter_setup *setup,
	const struct image_set *set, struct err *err)
{
	struct link *l = &c->links[c->n];
	int r;

	if (c->n == FILTERS_MAX)
		return err_usage(err, "there cannot be more than %d page filters", FILTERS_MAX);
	r = filter_find(name, image_set_access(set), &l->filter, &l->object, err);
	if (r < 0)
		return r;
	c->n++;
	r = link_key(l, c->n, set, err);
	if (r < 0)
		return err_while(err, "opening page filter '%s'", l->filter->name);
	setup->key = l->key;
	r = l->filter->open(setup, &l->state);
	setup->error[sizeof(setup->error) - 1] = '\0';
	if (r < 0)
		return err_set(err, setup->params ? ERR_IMAGE : ERR_USAGE, -r,
			"page filter '%s' cannot be used: %s",
			l->filter->name, *setup->error ? setup->error : strerror(-r));
	l->open = true;
	c->expansion += l->filter->expansion;
	if (l->filter->caps & TORPOR_FILTER_ALWAYS)
		c->always |= 1u << (c->n - 1);
	return 0;
}

static void chain_release(void *chain)
{
	filter_chain_drop(chain);
}

/* ------------------------------------------------------------------------------------- learning */

void filter_chain_give_samples(struct filter_chain *c, uint8_t *take_samples, size_t *take_sizes,
	size_t n)
{
	forget_samples(c);
	c->samples = take_samples;
	c->sample_sizes = take_sizes;
	c->n_samples = n;
}

static int train(struct filter_chain *c, struct err *err)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct link *l = &c->links[i];
		int r;

		if (!l->filter->train || !l->filter->sample_bytes || !l->filter->sample_bytes(l->state))
			continue;
		r = l->filter->train(l->state, c->samples, c->sample_sizes, c->n_samples);
		if (r < 0)
			return err_sysn(err, -r, "page filter '%s' cannot be trained", l->filter->name);
	}
	return 0;
}

static int chain_save(const struct filter_chain *c, struct image_set *set, struct err *err)
{
	struct image_writer *w;
	int q, r = image_create(set, IMG_TORPOR_FILTERS, 0, &w, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < c->n && r == 0; i++) {
		const struct torpor_page_filter *f = c->links[i].filter;
		TorporFilterEntry e = TORPOR_FILTER_ENTRY__INIT;

		e.name = (char *)f->name;
		if (f->params)
			e.params.data = (uint8_t *)f->params(c->links[i].state, &e.params.len);
		e.has_params = e.params.data != NULL;
		if (e.has_params && e.params.len > TORPOR_FILTER_PARAMS_MAX)
			r = err_set(err, ERR_UNSUPPORTED, E2BIG, "page filter '%s' has parameters of %zu "
				"bytes, more than the %d that can be kept", f->name, e.params.len,
				TORPOR_FILTER_PARAMS_MAX);
		else
			r = image_put(w, &e, err);
	}
	q = image_finish(w, r < 0 ? NULL : err);
	return r < 0 ? r : q;
}

int filter_chain_settle(struct filter_chain *c, struct err *err)
{
	struct image_set *set = c->unsettled;
	int r = set && c->n_samples ? train(c, err) : 0;

	c->unsettled = NULL;
	forget_samples(c);
	return r < 0 || !set ? r : chain_save(c, set, err);
}

/* Contents of files are few: they are coded where they are met. */
static int codec_encode(void *chain, struct torpor_extent *x, const uint8_t *in, uint8_t *out,
	uint32_t *ret_bytes, struct err *err)
{
	struct extent got;
	int r = filter_chain_settle(chain, err);

	if (r == 0)
		r = filter_encode(chain, 0, x, in, out, &got, err);
	if (r < 0)
		return r;
	if (!got.applied)
		memcpy(out, in, got.bytes);
	x->applied = got.applied;
	*ret_bytes = got.bytes;
	return 0;
}

static int codec_decode(void *chain, const struct torpor_extent *x, const uint8_t *in,
	uint32_t bytes, uint8_t *out, struct err *err)
{
	return filter_decode(chain, 0, x, in, bytes, out, err);
}

static void chain_give(struct filter_chain *c, struct image_set *set)
{
	const struct image_codec codec = { .chain = c, .expansion = c->expansion,
		.encode = codec_encode, .decode = codec_decode };

	image_set_keep(set, c, chain_release);
	image_set_use_codec(set, &codec);
}

/* Pages of an encrypted set must not be the one thing that is not. */
static int check_sealed(const struct filter_chain *c, const struct image_set *set, struct err *err)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->links[i].filter->caps & TORPOR_FILTER_AUTHENTIC)
			return 0;
	}
	return image_set_is_sealed(set) ?
		err_image(err, "the images are encrypted, but no page filter protects the pages") : 0;
}

int filter_chain_create(struct image_set *set, const struct filter_wish *wishes, size_t n,
	struct err *err)
{
	struct filter_chain *c = chain_new();
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct torpor_filter_setup setup = { .options = wishes[i].options };

		r = chain_add(c, wishes[i].name, &setup, set, err);
	}
	if (r == 0)
		r = check_sealed(c, set, err);
	if (r < 0) {
		filter_chain_drop(c);
		return r;
	}
	c->unsettled = set;
	image_set_need(set, IMAGE_NEEDS_FILTERS);
	chain_give(c, set);
	return 0;
}

int filter_chain_private(struct filter_chain **ret, struct err *err)
{
	struct filter_chain *c = chain_new();
	struct link *l = &c->links[0];
	struct torpor_filter_setup setup = { 0 };
	int r = secret_new(&l->key, err);

	l->filter = &page_filter_aes_gcm;
	c->n = 1;
	c->expansion = l->filter->expansion;
	c->always = 1;
	if (r == 0)
		r = random_bytes(l->key, TORPOR_FILTER_KEY, err);
	if (r == 0) {
		setup.key = l->key;
		r = l->filter->open(&setup, &l->state);
		l->open = r == 0;
		r = r < 0 ? err_sysn(err, -r, "pages that wait cannot be encrypted") : 0;
	}
	if (r == 0)
		*ret = c;
	else
		filter_chain_drop(c);
	return r;
}

bool filter_chain_is_slow(const struct filter_chain *c)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct link *l = &c->links[i];
		bool shrinks = !(l->filter->caps & TORPOR_FILTER_ALWAYS);

		if (l->object || (shrinks && l->filter != &page_filter_zero))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------------------ from and to images */

static int read_filters(struct filter_chain *c, struct image_set *set, struct image_reader *r,
	struct arena *a, struct err *err)
{
	TorporFilterEntry *e;
	int got;

	while ((got = image_next(r, a, &e, err)) > 0) {
		struct torpor_filter_setup setup = { 0 };

		/* the one who restores may name a file to be run, the one who wrote the images not */
		if (strchr(e->name, '/'))
			return err_image(err, "%s names a file ('%s') instead of a page filter",
				image_reader_name(r), e->name);
		if (e->has_params && e->params.len > TORPOR_FILTER_PARAMS_MAX)
			return err_image(err, "%s: the parameters of '%s' are too long",
				image_reader_name(r), e->name);
		if (e->has_params) {
			setup.params = e->params.data;
			setup.params_len = e->params.len;
		}
		got = chain_add(c, e->name, &setup, set, err);
		if (got < 0)
			return err_while(err, "opening the filters of the images");
	}
	return got;
}

static int chain_load(struct image_set *set, struct filter_chain **ret, struct err *err)
{
	struct filter_chain *c = chain_new();
	struct arena *a = arena_new();
	struct image_reader *r;
	int e = image_open(set, IMG_TORPOR_FILTERS, 0, &r, err);

	/* a set may need filters for its parent's pages only */
	if (e == 0 && r)
		e = read_filters(c, set, r, a, err);
	if (e == 0)
		e = check_sealed(c, set, err);
	image_reader_close(r);
	arena_free(a);
	*ret = e == 0 && c->n ? c : NULL;
	if (!*ret)
		filter_chain_drop(c);
	return e;
}

int filter_chain_of(struct image_set *set, struct filter_chain **ret, struct err *err)
{
	struct filter_chain *c = image_set_kept(set);
	int r;

	if (!c && image_set_needs(set) & IMAGE_NEEDS_FILTERS) {
		r = chain_load(set, &c, err);
		if (r < 0)
			return r;
		if (c)
			chain_give(c, set);
	}
	*ret = c;
	return 0;
}

void extent_common(const struct image_set *set, enum image_id type, unsigned long id,
	struct torpor_extent *ret)
{
	*ret = (struct torpor_extent){ .object = id, .generation = image_set_generation(set),
		.kind = type == IMG_PAGEMAP ? TORPOR_OBJECT_TASK : TORPOR_OBJECT_SHARED };
	memcpy(ret->dump, image_set_dump_id(set), sizeof(ret->dump));
}

size_t filter_chain_samples(const struct filter_chain *c)
{
	size_t most = 0;

	for (size_t i = 0; i < c->n; i++) {
		const struct link *l = &c->links[i];
		size_t n = l->filter->train && l->filter->sample_bytes ?
			l->filter->sample_bytes(l->state) : 0;

		most = n > most ? n : most;
	}
	return most;
}

size_t filter_chain_expansion(const struct filter_chain *c)
{
	return c->expansion;
}

/* Whether all filters of the mask have this capability. */
static bool all_have(const struct filter_chain *c, uint32_t applied, uint32_t cap)
{
	for (size_t i = 0; i < c->n; i++) {
		if (applied & 1u << i && !(c->links[i].filter->caps & cap))
			return false;
	}
	return true;
}

bool filter_chain_keeps_zeros(const struct filter_chain *c, uint32_t applied)
{
	return all_have(c, applied, TORPOR_FILTER_KEEPS_ZEROS);
}

bool filter_chain_has_random_access(const struct filter_chain *c, uint32_t applied)
{
	return all_have(c, applied, TORPOR_FILTER_RANDOM_ACCESS);
}
