/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of image/. */
#pragma once
#include "base/table.h"
#include "base/vec.h"
#include "image/image.h"
#include "image/stream.h"
#include "proto/messages.h"

#define IMAGE_MAGIC_COMMON 0x54564319u
#define IMAGE_MAGIC_SERVICE 0x55105940u
#define IMAGE_MAGIC_TORPOR 0x54525046u /* in place of the common one: for torpor only */
#define IMAGE_VERSION_TORPOR 0x54520001u /* of an inventory: others refuse the set */

enum {
	IMAGE_NAME = 64,
	IMAGE_BUFFER = 64 * 1024,
};

struct image_set {
	int dirfd; /* where the files are: home, or a directory in memory of ours */
	int home; /* the caller's */
	struct image_stream *stream; /* writing: the files go there; NULL: into the directory */
	_Atomic uint64_t streamed; /* bytes that were written */
	bool write;
	bool begun; /* writing: a stale inventory is gone, files may be created */
	uint32_t version; /* layout: 1 or 2 */
	const struct image_access *access;
	unsigned needs; /* enum image_needs */
	uint8_t dump_id[IMAGE_DUMP_ID];
	uint32_t generation;
	uint8_t parent_id[IMAGE_DUMP_ID]; /* zeros: none that has an id */
	struct sealed *sealed; /* NULL: not encrypted */
	struct image_codec codec; /* without encode: none */
	void *kept;
	void (*release)(void *kept);
	struct vec_of(char *) created;
	struct table made; /* table_key(type, id) of what was created */
	struct journal *journal; /* NULL until asked for */
	struct page_client *client;
	struct page_staging *staging;
};

/* The magic that stands in front of the type's own one. */
uint32_t image_first_magic(enum image_id type);
/* Forgets what was created. */
void image_set_forget(struct image_set *set);
/* Creates (truncates) a file of the set and remembers it. */
int image_create_fd(struct image_set *set, const char *name, int *ret, struct err *err) must_use;
/* image_create() under another name and with this first magic, 0 for none. */
int image_create_named(struct image_set *set, enum image_id type, const char *name, uint32_t first,
	struct image_writer **ret, struct err *err) must_use;
/* Takes what the inventory says of the set; finds its key if it has one. */
int torpor_learn(struct image_set *set, const InventoryEntry *inv, struct err *err) must_use;
/* The inventory as it is to be seen by others. */
int torpor_put_inventory(struct image_set *set, const InventoryEntry *inv, struct image_writer *w,
	struct err *err) must_use;
/* Flushes and fsyncs. */
int image_sync(struct image_writer *w, struct err *err) must_use;
