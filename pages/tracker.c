// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/tracker.h"
#include <string.h>

enum { HOLE_MOST = 1024 * 1024 }; /* scanned over; older kernels walk holes page by page */

const struct tracker trackers[TRACK_COUNT] = {
	[TRACK_SOFT_DIRTY] = { TRACK_SOFT_DIRTY, "soft-dirty", HAS_mem_dirty_track, soft_dirty_ask },
	[TRACK_WRITE_PROTECT] = { TRACK_WRITE_PROTECT, "write-protect", HAS_uffd_wp_async,
		write_protect_ask },
	[TRACK_HASH] = { TRACK_HASH, "hash", FEATURE_COUNT, NULL },
};

static bool works(const struct tracker *t)
{
	return t->needs == FEATURE_COUNT || feature_probe(t->needs) == 0;
}

const struct tracker *tracker_of_name(const char *name)
{
	for (size_t i = 0; i < TRACK_COUNT; i++)
		if (!strcmp(trackers[i].name, name))
			return &trackers[i];
	return NULL;
}

static const struct tracker *best(void)
{
	const struct tracker *t = trackers;

	while (!works(t)) /* the last one needs nothing */
		t++;
	return t;
}

int tracker_choose(const char *name, const struct tracker **ret, struct err *err)
{
	const struct tracker *t;

	if (!name || !strcmp(name, "auto")) {
		*ret = best();
		return 0;
	}
	t = tracker_of_name(name);
	if (!t)
		return err_usage(err, "there is no tracker '%s'", name);
	if (!works(t))
		return err_unsupported(err, "this kernel cannot track memory by %s (feature %s); use "
			"--tracker %s", name, features[t->needs].name, best()->name);
	*ret = t;
	return 0;
}

/* ---- for the trackers ---- */

/* The part of the area at hand up to `end` is clean. */
static void sweep_clean(struct sweep *s, uint64_t end)
{
	const struct tracked_area *a = &s->t->areas[s->at];
	struct page_range part = { s->from > a->start ? s->from : a->start,
		end < a->end ? end : a->end };

	if (part.end > part.start && s->trusts(s->t, a))
		vec_push(&s->t->unchanged, part);
}

int sweep_dirty(const struct page_span *span, void *data, struct err *err)
{
	struct sweep *s = data;

	for (; s->at < s->end && s->t->areas[s->at].end <= span->start; s->at++)
		sweep_clean(s, span->start);
	if (s->at < s->end)
		sweep_clean(s, span->start);
	s->from = span->end;
	return 0;
}

void sweep_end(struct sweep *s)
{
	for (; s->at < s->end; s->at++)
		sweep_clean(s, UINT64_MAX);
}

bool tracked_joins(const struct tracked *t, size_t i)
{
	return i < t->n_areas && t->areas[i].joined &&
		t->areas[i].start - t->areas[i - 1].end < HOLE_MOST;
}
