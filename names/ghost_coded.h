/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contents of deleted files in sets with page filters: every chunk of the image is one extent. Used
 * by ghost_save.c and ghost_make.c only.
 */
#pragma once
#include "image/image.h"
#include "proto/messages.h"

/* Bytes of a chunk. */
enum { GHOST_EXTENT = 128 * 1024 };

/*
 * Writes [at, end) of the file as chunks. *serial counts the extents of the ghost. `who` is for
 * messages.
 */
int ghost_put_coded(struct image_set *images, struct image_writer *w, uint32_t ghost, int fd,
	uint64_t at, uint64_t end, uint32_t *serial, const char *who, struct err *err) must_use;
/* Reads what follows the chunk's message into the file. */
int ghost_get_coded(struct image_set *images, struct image_reader *r, uint32_t ghost,
	const GhostChunkEntry *c, uint32_t serial, int fd, struct err *err) must_use;
