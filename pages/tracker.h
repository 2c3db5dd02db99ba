/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Trackers: which pages of a task are the same as in the images made of it before. tracker_*.c has
 * one each, tracker.c the table of them; docs/HOWTO-increments.md tells when which one is used.
 *
 * What all promise: a page is only called unchanged when nothing can have written to it since the
 * parent images read it. Areas that cannot be watched, and those made since, are never called so.
 */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include "kernel/features.h"
#include "kernel/pagemap.h"
#include "pages/pages.h"

enum tracker_id { TRACK_SOFT_DIRTY, TRACK_WRITE_PROTECT, TRACK_HASH, TRACK_COUNT };

struct page_range {
	uint64_t start, end;
};

struct page_ranges vec_of(struct page_range);

/* An area with pages of the task's own, as far as trackers care. */
struct tracked_area {
	uint64_t start, end;
	bool joined; /* nothing but a hole lies between it and the one before */
	bool held; /* some userfaultfd write-protected it when the task was stopped */
	bool mergeable; /* madvise(2) MADV_MERGEABLE */
	bool resident; /* it may hold pages */
};

/* One address space; the task is stopped. */
struct tracked {
	pid_t tid; /* a live thread */
	const struct page_scanner *scanner;
	const struct tracked_area *areas; /* ascending */
	size_t n_areas;
	int uffd; /* write-protect only, else -1 */
	bool known; /* it was tracked without a gap since the parent images were made */
	bool again; /* start anew: the next answer shall be about what happens from now on */
	struct page_ranges unchanged; /* the answer, ascending; the caller calls vec_done() */
};

struct tracker {
	enum tracker_id id;
	const char *name;
	enum feature_id needs; /* FEATURE_COUNT: nothing */
	/* NULL for the one that compares contents (pages/digest.h). */
	int (*ask)(struct tracked *t, struct err *err);
};

extern const struct tracker trackers[TRACK_COUNT]; /* the best one first */
/* tracker_soft_dirty.c, tracker_write_protect.c */
int soft_dirty_ask(struct tracked *t, struct err *err) must_use;
int write_protect_ask(struct tracked *t, struct err *err) must_use;

/* NULL if there is none of this name. */
const struct tracker *tracker_of_name(const char *name);
/*
 * The tracker of that name, or (NULL, "auto") the first that works here. One that was asked for by
 * name and does not work here is an error that says what else to use.
 */
int tracker_choose(const char *name, const struct tracker **ret, struct err *err) must_use;

/* ---- for the trackers ---- */
/* Collects what a scan of the areas [at, end) of t does not call dirty. */
struct sweep {
	struct tracked *t;
	size_t at, end;
	uint64_t from; /* everything before it is decided */
	/* Whether what is not dirty in it is unchanged. */
	bool (*trusts)(const struct tracked *t, const struct tracked_area *area);
};

/* A page_span_each; data is the sweep. Spans come in ascending order. */
int sweep_dirty(const struct page_span *span, void *data, struct err *err);
void sweep_end(struct sweep *s);
/* Whether area i can be scanned or registered together with the one before. */
bool tracked_joins(const struct tracked *t, size_t i);
