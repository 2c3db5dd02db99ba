/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `dedup`: frees what newer images replace in older ones, along the whole chain. */
#include "pages/dedup.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/figures.h"
#include "pages/filter.h"

int cmd_dedup(const struct call *call, struct err *err)
{
	struct image_access access = access_open(call->o);
	struct image_set *set = NULL;
	uint64_t bytes = 0;
	int r = image_set_open_with(call->images_fd, false, &access, &set, err);

	if (r == 0)
		r = dedup_parents(set, true, &bytes, err);
	image_set_close(set);
	access_close(&access);
	if (r < 0)
		return r;
	log_info("%lu bytes of older images are free", (unsigned long)bytes);
	if (call->o->json) {
		printf("{\"ok\": true, \"bytes\": %lu}\n", (unsigned long)bytes);
	} else if (wants_figures(call->o)) {
		fputs("freed ", stdout);
		print_size(stdout, bytes);
		fputs(" of older images\n", stdout);
	}
	return 0;
}
