/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restore side of names: opens what a reg_file_entry tells of, by its path or as a ghost, and
 * verifies that it is still the file which was saved.
 */
#pragma once
#include "image/image.h"
#include "model/world.h"
#include "options/options.h"
#include <sys/stat.h>

struct reach;

struct reach *reach_new(struct world *w, struct image_set *images, const struct options *o);
/* The restore has succeeded: names which only its dump made are taken away. */
void reach_complete(struct reach *r);
/* Closes the ghosts which it holds. NULL is fine. */
void reach_free(struct reach *r);
/*
 * Opens the file with open(2) flags (those that create or empty files are left out, O_CLOEXEC is
 * added; O_ASYNC is left to the caller). Sentences name the path.
 */
int reach_open(struct reach *r, const RegFileEntry *reg, int flags, int *ret_fd, struct err *err)
	must_use;
/*
 * Whether a descriptor stands for it (--inherit-fd); then reach_open() gives a duplicate, whose
 * offset and flags are not ours to change.
 */
bool reach_is_given(const struct reach *r, const RegFileEntry *reg);

/*
 * An O_PATH descriptor, r's own, of the deleted file that had this inode at the dump (device in the
 * kernel's form), if some entry has asked for it; -1.
 */
int reach_ghost_of(const struct reach *r, uint32_t dev, uint64_t ino);

/*
 * Fills name-independent checks of the file behind fd (any kind of descriptor): size, mode, build
 * id or time, as --file-validation wants it. reg->flags must be set: no size for O_WRONLY|O_APPEND.
 */
void reach_describe(struct world *w, int fd, const struct stat *st, const struct options *o,
	RegFileEntry *reg);
