/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bringing memory to tasks that run already: what they touch first, then what earlier restores of the
 * same images touched, then the rest, in growing pieces while nobody waits.
 *
 * Each address space belongs to one worker thread, which reads its events in their order; so what a
 * task does to its memory and what is brought never cross.
 */
#pragma once
#include "pages/lazy_get.h"
#include "pages/pages.h"

struct lazy;

struct lazy_setup {
	struct image_set *set;
	struct page_getter *getter; /* for pages that are in no image; NULL: there are none */
	unsigned workers; /* threads, at least 1 */
};

struct lazy_figures {
	uint64_t faults, on_fault, ahead, zeros; /* pages: for a fault, before anybody asked */
	bool failed; /* some page could not be brought: who touches it gets SIGBUS */
};

int lazy_start(const struct lazy_setup *setup, struct lazy **ret, struct err *err) must_use;
/* A task by its pid in the images, and its userfaultfd, which is taken over in any case. */
int lazy_add(struct lazy *l, unsigned long pid, int take_uffd, struct err *err) must_use;
/* All tasks are there and run: the rest may be brought. */
void lazy_all_run(struct lazy *l);
/* Waits until nothing is lacking, or the tasks have ended. The lazy is gone then. */
void lazy_finish(struct lazy *l, struct lazy_figures *ret);
