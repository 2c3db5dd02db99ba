/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An image that belongs to no set: statistics beside the images, written after their commit. It is not
 * the beginning of another set, which would put an end to the one that is there.
 */
#include "image/priv.h"

int image_save_alone(int dirfd, enum image_id type, const void *msg, struct err *err)
{
	struct image_set set = { .dirfd = dirfd, .write = true, .begun = true, .version = 2 };
	struct image_writer *w;
	int r, q;

	r = image_create(&set, type, 0, &w, err);
	if (r == 0) {
		r = image_put(w, msg, err);
		q = image_finish(w, err);
		r = r < 0 ? r : q;
	}
	image_set_forget(&set);
	return r;
}
