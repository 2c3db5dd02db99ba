/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names and numbers of the two protocols (docs/FORMAT-stream.md). */
#pragma once
#include <stdint.h>

/* First bytes of one stream. */
#define STREAM_MAGIC "TORPORS1"

/*
 * A frame. number 0: a new file follows, length counts its number (u32) and its name; or, with length
 * 0, the set is complete. Else content of that file; with length 0 its end.
 */
struct stream_frame {
	uint32_t number, length;
};

enum {
	STREAM_NAME_MOST = 63,
	STREAM_FILES_MOST = 16 << 20,
};

/* The file in which a dump tells a streamer what files there are: a name per line. */
#define STREAM_NAMES "torpor-names"
