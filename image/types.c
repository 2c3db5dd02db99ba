/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of image types as data; the same file gives types.h its enum. */
#include "image/types.h"
#include "proto/messages.h"
#include <stddef.h>

#define IMAGE_NO_MSG NULL

const struct image_type image_types[IMG_COUNT] = {
#define IMAGE(id, crit, file, number, message, bits)                                            \
	[IMG_##id] = { .name = crit, .pattern = file, .magic = number, .desc = message,         \
		.flags = bits },
#include "image/types.def"
#undef IMAGE
};
