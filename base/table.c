// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/table.h"
#include <stdlib.h>

struct table_slot {
	uint64_t key;
	void *value; /* NULL: free */
};

static struct table_slot *slot_of(const struct table *t, uint64_t key)
{
	size_t i = (size_t)table_key(key, 1) & (t->room - 1);

	while (t->slots[i].value && t->slots[i].key != key)
		i = (i + 1) & (t->room - 1);
	return &t->slots[i];
}

static void table_grow(struct table *t)
{
	struct table old = *t;

	t->room = old.room ? 2 * old.room : 64;
	t->slots = calloc(t->room, sizeof(*t->slots));
	if (!t->slots)
		abort();
	for (size_t i = 0; i < old.room; i++)
		if (old.slots[i].value)
			*slot_of(t, old.slots[i].key) = old.slots[i];
	free(old.slots);
}

void *table_get(const struct table *t, uint64_t key)
{
	return t->room ? slot_of(t, key)->value : NULL;
}

void table_put(struct table *t, uint64_t key, void *value)
{
	struct table_slot *s;

	if (2 * t->n >= t->room)
		table_grow(t);
	s = slot_of(t, key);
	if (!s->value)
		t->n++;
	s->key = key;
	s->value = value;
}

void table_done(struct table *t)
{
	free(t->slots);
	*t = (struct table){ 0 };
}
