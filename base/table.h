/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hash table from a 64-bit key to a pointer. Keys of several words are combined by table_key(). */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct table {
	struct table_slot *slots;
	size_t n, room;
};

/* One to one for a below 1000 and b below 2^32; else collisions are a matter of chance. */
static inline uint64_t table_key(uint64_t a, uint64_t b)
{
	a = a * 0x9e3779b97f4a7c15u ^ b;
	a ^= a >> 32;
	a *= 0xff51afd7ed558ccdu;
	return a ^ (a >> 33);
}

/* The value or NULL. */
void *table_get(const struct table *t, uint64_t key);
/* Sets or replaces; value must not be NULL. */
void table_put(struct table *t, uint64_t key, void *value);
void table_done(struct table *t);
