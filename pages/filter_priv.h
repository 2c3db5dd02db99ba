/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of a chain of filters, for filter.c and filter_code.c only. */
#pragma once
#include "pages/filter.h"
#include <stdatomic.h>

struct link {
	const struct torpor_page_filter *filter;
	void *object; /* keeps it loaded */
	void *state;
	uint8_t *key;
	bool open;
};

/* What one thread needs. */
struct coder {
	void *workers[FILTERS_MAX];
	bool open[FILTERS_MAX];
	uint8_t *scratch[2];
};

struct filter_chain {
	atomic_uint users;
	struct link links[FILTERS_MAX];
	size_t n, expansion;
	uint32_t always; /* mask of those that are applied to every extent */
	struct image_set *unsettled; /* the set which does not tell yet what filters it has; or NULL */
	uint8_t *samples; /* what is to be learnt from */
	size_t *sample_sizes, n_samples;
	struct coder coders[FILTER_WORKERS];
};
