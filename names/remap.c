/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See names/remap.h. */
#include "names/remap.h"

void remap_add(struct world *w, uint32_t orig_id, RemapType type, uint32_t remap_id)
{
	RemapFilePathEntry *e = arena_msg(w->arena, RemapFilePathEntry, remap_file_path_entry);

	e->orig_id = orig_id;
	e->remap_id = remap_id;
	e->has_remap_type = true;
	e->remap_type = type;
	world_add(w, IMG_REMAP_FPATH, 0, e);
}

RemapType remap_type(const RemapFilePathEntry *e)
{
	if (e->has_remap_type)
		return e->remap_type;
	return e->remap_id >> 31 ? REMAP_TYPE__GHOST : REMAP_TYPE__LINKED;
}

