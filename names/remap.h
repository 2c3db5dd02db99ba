/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that are reached in another way than by their name (remap_file_path_entry). */
#pragma once
#include "model/world.h"

/* Dump: file entry orig_id is one of them; what remap_id is depends on the type. */
void remap_add(struct world *w, uint32_t orig_id, RemapType type, uint32_t remap_id);
/* Old images have no type; there bit 31 of remap_id says ghost. */
RemapType remap_type(const RemapFilePathEntry *e);
