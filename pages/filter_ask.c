// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From options to filters: those of --page-filter in the order given, then what --compress is short
 * for. Before a compressor stands "zero", which costs nothing.
 */
#include "base/arena.h"
#include "pages/filter.h"
#include <string.h>

struct asking {
	struct arena *arena;
	struct filter_wish wishes[FILTERS_MAX];
	size_t n;
};

/* NAME[:OPTIONS] */
static int ask(struct asking *a, const char *text, struct err *err)
{
	char *name = arena_strdup(a->arena, text), *colon = strchr(name, ':');

	if (a->n == FILTERS_MAX)
		return err_usage(err, "there cannot be more than %d page filters", FILTERS_MAX);
	if (colon)
		*colon = '\0';
	a->wishes[a->n++] = (struct filter_wish){ name, colon ? colon + 1 : NULL };
	return 0;
}

static int ask_compress(struct asking *a, const char *method, struct err *err)
{
	size_t len = strcspn(method, ":");
	int r;

	if (!(len == 3 && !strncmp(method, "lz4", 3)) && !(len == 4 && !strncmp(method, "zstd", 4)))
		return err_usage(err, "--compress does not know '%s', only lz4 and zstd[:LEVEL]",
			method);
	r = ask(a, "zero", err);
	return r < 0 ? r : ask(a, method, err);
}

struct image_access filter_access(const struct options *o)
{
	return (struct image_access){ .filter_dir = o->libdir,
		.filter_files = o->page_filter.at, .n_filter_files = o->page_filter.n };
}

int filter_chain_ask(struct image_set *set, const struct options *o, struct err *err)
{
	struct asking a = { .arena = arena_new() };
	int r = 0;

	vec_each(text, &o->page_filter)
		if (r == 0)
			r = ask(&a, *text, err);
	if (r == 0 && o->given[OPTION_compress])
		r = ask_compress(&a, o->compress, err);
	if (r == 0 && a.n)
		r = filter_chain_create(set, a.wishes, a.n, err);
	arena_free(a.arena);
	return r;
}
