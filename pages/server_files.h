/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a page server does with torpor's own form of pages: it keeps whole files (pages/wire.h). */
#pragma once
#include "image/image.h"
#include "pages/server_setup.h"

struct files_taken {
	uint64_t files, bytes;
};

/*
 * Takes files until the sender says that this was all, and answers. A stream that breaks is an
 * error; what cannot be kept is told to the sender and in *why.
 */
int server_take_files(struct conn *c, const struct page_server_setup *setup, struct image_set *set,
	struct files_taken *ret, struct err *why, struct err *err) must_use;

/* ---- server_crowd.c: several connections ---- */
/* The same, when the first frame was FRAME_JOIN with this number. */
int server_take_crowd(struct conn *c, const struct page_server_setup *setup, struct image_set *set,
	uint64_t join, struct files_taken *ret, struct err *why, struct err *err) must_use;
/* The answer to FRAME_CLOSE. */
int server_answer_files(struct conn *c, const struct err *why, struct err *err) must_use;
