/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of image types, generated from types.def. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum image_id {
#define IMAGE(id, ...) IMG_##id,
#include "image/types.def"
#undef IMAGE
	IMG_COUNT
};

enum image_flags {
	IMGF_ONE = 1, /* exactly one message */
	IMGF_RAW = 2, /* no header, no messages */
	IMGF_SERVICE = 4, /* service magic, stands in the work directory */
	IMGF_TASK = 8, /* one file per task or thread: kept in struct task, not in world.entries */
	IMGF_NSID = 16, /* one file per number which is not a task's */
	IMGF_STREAM = 32, /* payload may be large and is not loaded into memory */
	IMGF_OLD = 64, /* read only: written by old releases */
	IMGF_SET = 128, /* belongs to the set itself: inventory, pstree */
	IMGF_SERVICE_MAGIC = 256, /* service magic, but stands in the images directory */
};

struct ProtobufCMessageDescriptor;

struct image_type {
	const char *name; /* crit's name of the kind: "PSTREE" */
	const char *pattern; /* printf format with at most one number: "core-%lu.img" */
	uint32_t magic; /* 0 for raw images */
	const struct ProtobufCMessageDescriptor *desc; /* NULL for raw images */
	unsigned flags;
};

extern const struct image_type image_types[IMG_COUNT];
