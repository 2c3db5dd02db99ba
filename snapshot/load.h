/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by load.c, member.c and upgrade.c. */
#pragma once
#include "image/image.h"
#include "model/world.h"

/* Where the details of one type of file stand in a FileEntry, and the image they once had. */
struct file_member {
	FdTypes type;
	enum image_id image; /* IMG_COUNT: never had one */
	size_t at, id; /* offsets of the member in FileEntry, of the id in the member's message */
};

/* Ends with type UND. */
extern const struct file_member file_members[];

/* The only message of an image that has to be there. */
int load_one(struct image_set *set, enum image_id type, unsigned long id, struct arena *a, void *ret,
	struct err *err) must_use;
/* Adds a file to the world if it has the details its type needs. */
int load_file(struct world *w, FileEntry *fe, struct err *err) must_use;
/* Brings what old releases kept elsewhere to where it is now. */
int load_old_forms(struct image_set *set, struct world *w, struct err *err) must_use;
