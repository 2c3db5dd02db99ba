/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory for keys: never swapped, in no core dump, not in children, wiped when it is freed. Keys in
 * plain memory (what a library makes of them) are wiped by their owners as soon as they can be.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum { SECRET_MAX = 4096, KEY_BYTES = 32 };

/* Zeroed memory, up to SECRET_MAX bytes; fails if it cannot be locked (RLIMIT_MEMLOCK). */
int secret_new(uint8_t **ret, struct err *err) must_use;
/* NULL is fine. */
void secret_free(uint8_t *secret);
/* For buffers elsewhere. */
void secret_wipe(void *p, size_t len);
