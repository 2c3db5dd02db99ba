/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by load.c and upgrade.c. */
#pragma once
#include "image/image.h"
#include "model/world.h"

/* The only message of an image that has to be there. */
int load_one(struct image_set *set, enum image_id type, unsigned long id, struct arena *a, void *ret,
	struct err *err) must_use;
/* Brings what old releases kept elsewhere to where it is now. */
int load_old_forms(struct image_set *set, struct world *w, struct err *err) must_use;
