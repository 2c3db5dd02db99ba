/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files whose name is gone while they have others: nobody knows these, so the dump gives such a file
 * one more, "link_remap.ID" in the folder of the lost one (--link-remap). ID is that of the file
 * entry which stands for it; a remap message leads there. The restore takes the name away.
 */
#pragma once
#include "base/vec.h"
#include "image/image.h"
#include "model/world.h"
#include "options/options.h"
#include <sys/stat.h>

/* A name that this dump has made. */
struct made_link {
	const char *path;
	uint32_t effect; /* in the journal */
};

struct made_links vec_of(struct made_link);

struct link_ask {
	struct world *world;
	struct image_set *images;
	const struct options *options;
	struct table *seen; /* of the whole dump */
	struct made_links *links;
	uint32_t *next_id; /* of file entries */
	int dup; /* any descriptor of the file, O_PATH too */
	const struct stat *st;
	const char *path; /* the name that it had */
	const char *who; /* "task 42 (sh), descriptor 3", for messages */
};

/* Makes the name (once for every file) and the remap message for file entry orig_id. */
int linkremap_save(const struct link_ask *a, uint32_t orig_id, struct err *err) must_use;
/* The dump has failed: takes all names away. */
void linkremap_undo(struct image_set *images, struct made_links *links);
/*
 * The restore has succeeded: takes away the name link, which led to what was called `was`. If
 * nothing else has that name now, open descriptors show it again (and that it is deleted).
 */
void linkremap_take_back(struct image_set *images, const char *link, const char *was);
