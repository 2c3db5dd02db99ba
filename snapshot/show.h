/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an image set holds, for people and for programs. */
#pragma once
#include "image/image.h"
#include "model/world.h"
#include <stdio.h>

/*
 * Prints tree, descriptors and memory of a loaded world; page counts are read from the set. JSON:
 * one object {"tasks": [...]} whose members are described in torpor(1).
 */
int snapshot_show(const struct world *w, struct image_set *set, FILE *out, bool json,
	struct err *err) must_use;
