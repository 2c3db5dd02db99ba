/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once
#include <stdbool.h>

/* How a set travels, as the user asked (image/stream.h). */
struct stream_plan {
	bool streamer;
	int fd; /* one stream on this descriptor; -1: not */
	unsigned patience_s; /* who takes nothing for so long is given up; 0: never */
};
