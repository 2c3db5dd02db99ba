/* SPDX-License-Identifier: GPL-2.0-or-later */
/* World to image set and back. */
#pragma once
#include "image/image.h"
#include "model/world.h"

/*
 * Writes everything the world holds but the inventory (image_set_commit() does that) and what
 * rooms write by themselves (pages, ghosts). On failure the caller discards the set.
 */
int snapshot_save(struct world *w, struct image_set *set, struct err *err) must_use;
/*
 * Fills an empty world. What has to exist and does not, what cannot be parsed and what refers to
 * nothing is an error naming the image; afterwards no reference of task to message is NULL that
 * model/world.h says is always there. Old forms are brought to the current one.
 */
int snapshot_load(struct image_set *set, struct world *w, struct err *err) must_use;
/* Bytes of payload that follow this message in its image, where the message tells; 0 for most. */
size_t snapshot_payload_len(enum image_id type, const void *msg);
