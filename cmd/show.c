/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `show DIR`: what an image set holds. Nothing of this computer is looked at. */
#include "snapshot/show.h"
#include "cmd/command.h"
#include "pages/filter.h"
#include "snapshot/snapshot.h"

int cmd_show(const struct call *call, struct err *err)
{
	struct world *w = world_new();
	struct image_access access = access_open(call->o);
	struct image_set *set = NULL;
	int r;

	r = image_set_open_with(call->images_fd, false, &access, &set, err);
	if (r == 0)
		r = snapshot_load(set, w, err);
	if (r == 0)
		r = snapshot_show(w, set, stdout, call->o->json, err);
	image_set_close(set);
	access_close(&access);
	world_free(w);
	return r;
}
