/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking for single pages over a connection (WIRE_GET), and answering. */
#pragma once
#include "pages/client.h"

struct page_getter;

int page_getter_open(const struct page_client_setup *setup, struct page_getter **ret,
	struct err *err) must_use;
/*
 * Pages of a task, as its images call it, into buf. A broken connection is made anew, for half a
 * minute. May be called by several threads.
 */
int page_getter_get(struct page_getter *g, unsigned long pid, uint64_t vaddr, uint64_t pages,
	void *buf, struct err *err) must_use;
/* Says that nothing more is needed. NULL is fine. */
void page_getter_close(struct page_getter *g);

/* The other side. */
struct page_giver {
	/* Copies the pages, or fails: the asker is then left without an answer. */
	int (*give)(struct page_giver *g, unsigned long pid, uint64_t vaddr, uint64_t pages, void *buf,
		struct err *err);
};

/* Where askers come from. */
struct page_giver_place {
	int listening; /* or -1: there is only the given one */
	bool tls;
	struct tls_files tls_files;
};

/*
 * Answers everybody who connects, and who has connected (take_given, may be NULL), until one of them
 * says that nothing more is needed (1) or nobody can come any more (0). An error only if the images are
 * at fault, or if the connection is that was the only one.
 */
int page_giver_serve(struct page_giver *giver, const struct page_giver_place *place,
	struct conn *take_given, struct err *err) must_use;
