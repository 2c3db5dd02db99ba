// SPDX-License-Identifier: GPL-2.0-or-later
/* libFuzzer: texts of /proc/PID/maps and smaps. */
#include "kernel/smaps.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What callers rely on. */
static int look(const struct smaps_area *a, void *data, struct err *err)
{
	uint64_t *last = data;

	if (a->start >= a->end || a->start < *last || !memchr(a->name, 0, sizeof(a->name)))
		abort();
	*last = a->end;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	uint64_t last = 0;

	if (smaps_parse((const char *)data, size, "text", look, &last, &err) < 0 &&
		!err_is_set(&err))
		abort();
	return 0;
}
