/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between pages/lazy.c and pages/lazy_worker.c. */
#pragma once
#include "base/table.h"
#include "pages/lazy.h"
#include "pages/lazy_space.h"
#include <pthread.h>
#include <stdatomic.h>

struct lazy_task {
	struct lazy_space space;
	int uffd;
	struct vec_of(uint64_t) faults; /* addresses somebody waits for */
	size_t recalled; /* how much of the last working set was brought */
};

struct lazy_worker {
	struct lazy *lazy;
	pthread_t thread;
	int epoll, bell; /* an eventfd: look at `incoming` */
	pthread_mutex_t lock; /* of `incoming` */
	struct vec_of(struct lazy_task *) incoming, tasks;
	size_t turn; /* whose background is next */
	uint64_t piece; /* pages the background brings at once */
	uint8_t *bytes; /* LAZY_PIECE_MAX pages */
	struct lazy_figures figures;
};

/* In pages. A piece has room for the largest huge page that is brought (LAZY_HUGE_MAX). */
enum { LAZY_PIECE_MIN = 16, LAZY_PIECE_MAX = 1024, LAZY_NEIGHBOURS = 16 };

/* A range that was touched at an earlier restore, or is touched at this one. */
struct touched {
	uint64_t image, pages;
	unsigned long pid;
};

struct touches vec_of(struct touched);

struct lazy {
	struct lazy_setup setup;
	struct lazy_worker *workers;
	size_t n_workers, next_worker;
	atomic_bool all_run;
	struct table before; /* pid -> struct touches, of an earlier restore */
	struct vec_of(struct touches *) all_before;
	struct touches now; /* of this one */
	pthread_mutex_t lock; /* of `now` */
	pthread_mutex_t decoding; /* filters have one worker for those who are in no crew */
};

void *lazy_worker_main(void *worker);
void lazy_worker_ring(struct lazy_worker *w);
/* Notes what was touched, for the next restore. */
void lazy_note(struct lazy *l, const struct touched *t);
