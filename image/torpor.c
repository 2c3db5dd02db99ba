// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What only torpor understands of a set: the mark in its inventory by which others refuse it, and
 * what a reader must be given.
 */
#include "base/kdf.h"
#include "image/sealed.h"
#include <string.h>

int torpor_learn(struct image_set *set, const InventoryEntry *inv, struct err *err)
{
	const TorporSetEntry *t = inv->torpor;

	if (!t && inv->img_version == IMAGE_VERSION_TORPOR)
		return err_image(err, "inventory.img does not say what the set needs");
	if (!t)
		return 0;
	if (t->needs & ~(uint32_t)(IMAGE_NEEDS_FILTERS | IMAGE_NEEDS_KEY))
		return err_image(err, "inventory.img needs functions (0x%x) of a newer torpor",
			t->needs);
	if (t->dump_id.len != sizeof(set->dump_id) ||
		(t->has_parent_id && t->parent_id.len != sizeof(set->parent_id)))
		return err_image(err, "inventory.img has an id of %zu bytes", t->dump_id.len);
	set->needs = t->needs;
	memcpy(set->dump_id, t->dump_id.data, sizeof(set->dump_id));
	if (t->has_parent_id)
		memcpy(set->parent_id, t->parent_id.data, sizeof(set->parent_id));
	set->generation = t->generation;
	return t->needs & IMAGE_NEEDS_KEY ? sealed_learn(set, t, err) : 0;
}

static bool has_parent(const struct image_set *set)
{
	static const uint8_t none[IMAGE_DUMP_ID];

	return memcmp(set->parent_id, none, sizeof(none)) != 0;
}

/* In an encrypted set the inventory others see holds nothing but the mark. */
int torpor_put_inventory(struct image_set *set, const InventoryEntry *inv, struct image_writer *w,
	struct err *err)
{
	TorporSetEntry torpor = TORPOR_SET_ENTRY__INIT;
	InventoryEntry seen = *inv;
	int r = 0;

	if (!set->needs)
		return image_put(w, inv, err);
	if (set->sealed)
		inventory_entry__init(&seen);
	/* 0, a pre-dump, is refused as it is */
	seen.img_version = inv->img_version ? IMAGE_VERSION_TORPOR : 0;
	seen.torpor = &torpor;
	torpor.needs = set->needs;
	torpor.dump_id = (ProtobufCBinaryData){ sizeof(set->dump_id), set->dump_id };
	torpor.has_generation = set->generation > 0;
	torpor.generation = set->generation;
	torpor.has_parent_id = has_parent(set);
	torpor.parent_id = (ProtobufCBinaryData){ sizeof(set->parent_id), set->parent_id };
	if (set->sealed)
		r = sealed_put_inventory(set, inv, &torpor, err);
	return r < 0 ? r : image_put(w, &seen, err);
}

const struct image_access *image_set_access(const struct image_set *set)
{
	return set->access;
}

void image_set_need(struct image_set *set, enum image_needs need)
{
	set->needs |= need;
}

unsigned image_set_needs(const struct image_set *set)
{
	return set->needs;
}

const uint8_t *image_set_dump_id(const struct image_set *set)
{
	return set->dump_id;
}

uint32_t image_set_generation(const struct image_set *set)
{
	return set->generation;
}

/* Who cannot read the parent's pages cannot restore the child either. */
int image_set_follow(struct image_set *set, const struct image_set *parent, struct err *err)
{
	if (set->sealed && !parent->sealed)
		return err_usage(err, "an encrypted set cannot be an increment to one that is not: "
			"nobody could tell whether its pages were changed");
	set->generation = parent->generation + 1;
	set->needs |= parent->needs & IMAGE_NEEDS_FILTERS;
	if (parent->needs)
		memcpy(set->parent_id, parent->dump_id, sizeof(set->parent_id));
	return 0;
}

int image_set_check_parent(const struct image_set *set, const struct image_set *parent,
	struct err *err)
{
	if (set->sealed && !parent->sealed)
		return err_image(err, "the parent images are not encrypted, as they were");
	if (has_parent(set) && memcmp(set->parent_id, parent->dump_id, sizeof(set->parent_id)) != 0)
		return err_image(err, "the parent images are not those of the dump before");
	return 0;
}

int image_set_key(const struct image_set *set, const char *purpose, uint8_t *key, struct err *err)
{
	if (!set->sealed)
		return err_usage(err, "there is no key: it needs --encrypt");
	return kdf_expand(set->sealed->key.key, KEY_BYTES, set->dump_id, sizeof(set->dump_id),
		purpose, key, err);
}

bool image_set_is_sealed(const struct image_set *set)
{
	return set->sealed;
}

void image_set_use_codec(struct image_set *set, const struct image_codec *codec)
{
	set->codec = *codec;
}

const struct image_codec *image_set_codec(const struct image_set *set)
{
	return set->codec.encode ? &set->codec : NULL;
}

void image_set_keep(struct image_set *set, void *thing, void (*release)(void *thing))
{
	if (set->kept)
		set->release(set->kept);
	set->kept = thing;
	set->release = release;
}

void *image_set_kept(const struct image_set *set)
{
	return set->kept;
}
