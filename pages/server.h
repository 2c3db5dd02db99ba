/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The page server: takes the pages of one dump from a connection (pages/wire.h) and writes pagemaps
 * and pages files into a directory, which has neither an inventory nor other images. In torpor's own
 * form there are only pages files, as the sender wants them.
 *
 *   waiting --open--> receiving --close--> answered 0 --> done
 *        \                \--failure--> draining --close--> answered with the failure
 *         \---------------- end of the stream before close: everything is removed
 *
 * While draining, pages are read and thrown away, so that the sender gets the answer. In torpor's own
 * form it is told at once and need not send the rest.
 */
#pragma once
#include "pages/server_setup.h"

struct page_server_figures {
	uint64_t objects, pages, parent_pages;
	uint64_t files, bytes; /* of torpor's own form */
	bool begun; /* the sender said something that a dump says */
	bool complete; /* and in the end that this was all */
};

/*
 * Serves one dump. Returns when the sender has closed the connection. From a lobby comes who has
 * something to say: its first command is waited for for 10 s (-ETIMEDOUT).
 */
int page_server_receive(struct conn *c, const struct page_server_setup *setup,
	struct page_server_figures *ret, struct err *err) must_use;
