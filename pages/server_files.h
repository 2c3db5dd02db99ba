/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a page server does with torpor's own form of pages: it keeps whole files (pages/wire.h). */
#pragma once
#include "image/image.h"
#include "pages/conn.h"

struct files_taken {
	uint64_t files, bytes;
};

/*
 * Takes files until the sender says that this was all, and answers. A stream that breaks is an
 * error; what cannot be kept is told to the sender and in *why.
 */
int server_take_files(struct conn *c, struct image_set *set, struct files_taken *ret,
	struct err *why, struct err *err) must_use;
