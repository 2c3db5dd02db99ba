/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ghosts: files which are open (or mapped, or someone's folder) but have no name any more. A dump
 * keeps their content in ghost-file-<hex id>.img; a restore makes them again, still without name.
 *
 * Several descriptions of one file share its ghost, known by device and inode at the dump.
 */
#pragma once
#include "image/image.h"
#include "model/world.h"
#include "options/options.h"
#include <sys/stat.h>

struct ghost_ask {
	struct world *world;
	struct image_set *images;
	const struct options *options;
	struct table *seen; /* of the whole dump: which ghosts were saved */
	int dup; /* any descriptor of the file, O_PATH too */
	const struct stat *st;
	const char *path; /* its last name, for messages */
	const char *who; /* "task 42 (sh), descriptor 3", for messages */
};

/*
 * Saves the file (once) and adds the remap message that leads from file entry orig_id to it.
 * Refuses files above --ghost-limit and sockets.
 */
int ghost_save(const struct ghost_ask *a, uint32_t orig_id, struct err *err) must_use;

/*
 * Makes ghost `id` of the images again under the name `path` (or another one where that cannot
 * be), takes the name away at once and returns an O_PATH descriptor of it, and what the image says
 * (in the arena).
 */
int ghost_make(struct image_set *images, struct arena *arena, uint32_t id, const char *path,
	const GhostFileEntry **ret_entry, int *ret_fd, struct err *err) must_use;
