/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of image/ ask of an encrypted set (image/sealed.c). */
#pragma once
#include "image/priv.h"
#include "image/seal.h"

/* One file of the set. */
struct sealed_file {
	char *name;
	uint64_t size;
	bool has_salt; /* pages are protected by their filters and have none */
	uint8_t salt[SEAL_SALT];
};

/* Descriptor of a raw image in memory until the set is committed. */
struct sealed_raw {
	char *name;
	int fd;
};

struct sealed {
	struct seal_key key;
	struct arena *arena; /* the envelope */
	TorporEnvelopeEntry *envelope;
	uint8_t *inventory; /* reading: the real one, as an image file */
	size_t inventory_len;
	struct vec_of(struct sealed_file) files;
	struct table by_name; /* hash of a name -> index + 1 in files */
	struct vec_of(struct sealed_raw) raws;
};

void sealed_free(struct sealed *s); /* NULL is fine */

/* Reading: what the inventory says; the key is found, the manifest is read and compared. */
int sealed_learn(struct image_set *set, const TorporSetEntry *t, struct err *err) must_use;
/* NULL: it is no part of the set. */
const struct sealed_file *sealed_find(const struct sealed *s, const char *name);
/* Content of a whole file in memory: a descriptor at offset 0. */
int sealed_open_memory(struct image_set *set, const char *name, int *ret_fd, struct err *err)
	must_use;
/* The real inventory as a file. */
int sealed_open_inventory(const struct sealed *s, int *ret_fd, struct err *err) must_use;

/* Writing. Notes a file, whose size comes later; salt is NULL for pages. Returns its index. */
size_t sealed_note(struct sealed *s, const char *name, const uint8_t *salt);
/* A descriptor whose content becomes the file at the commit. */
int sealed_create_memory(struct sealed *s, const char *name, int *ret_fd, struct err *err) must_use;
/* Everything but the inventory is finished: raw images, then the manifest. */
int sealed_write_manifest(struct image_set *set, struct err *err) must_use;
/* Fills the envelope with the inventory; t has everything else. */
int sealed_put_inventory(struct image_set *set, const InventoryEntry *inv, TorporSetEntry *t,
	struct err *err) must_use;
