// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/arena.h"
#include <protobuf-c/protobuf-c.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256 * 1024, ALIGN = 16 };

struct block {
	struct block *next;
	size_t size, used;
	_Alignas(ALIGN) char bytes[];
};

struct arena {
	struct block *blocks;
	size_t used;
	ProtobufCAllocator protobuf;
};

static _Noreturn void out_of_memory(size_t size)
{
	fprintf(stderr, "torpor: out of memory (%zu bytes were wanted)\n", size);
	abort();
}

static void *protobuf_alloc(void *data, size_t size)
{
	return arena_alloc(data, size);
}

static void protobuf_free(void *data, void *p)
{
	(void)data;
	(void)p;
}

struct arena *arena_new(void)
{
	struct arena *a = calloc(1, sizeof(*a));

	if (!a)
		out_of_memory(sizeof(*a));
	a->protobuf = (ProtobufCAllocator){
		.alloc = protobuf_alloc, .free = protobuf_free, .allocator_data = a
	};
	return a;
}

void arena_free(struct arena *a)
{
	struct block *b, *next;

	if (!a)
		return;
	for (b = a->blocks; b; b = next) {
		next = b->next;
		free(b);
	}
	free(a);
}

static struct block *block_add(struct arena *a, size_t size)
{
	size_t want = size > BLOCK / 4 ? size : BLOCK;
	struct block *b = calloc(1, sizeof(*b) + want);

	if (!b)
		out_of_memory(size);
	b->size = want;
	if (want == size && a->blocks) { /* a big one: keep filling the current block */
		b->next = a->blocks->next;
		a->blocks->next = b;
	} else {
		b->next = a->blocks;
		a->blocks = b;
	}
	return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
	struct block *b = a->blocks;
	void *p;

	if (size > SIZE_MAX / 2)
		out_of_memory(size);
	size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
	if (!b || b->size - b->used < size)
		b = block_add(a, size);
	p = b->bytes + b->used;
	b->used += size;
	a->used += size;
	return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
	size_t total;

	if (__builtin_mul_overflow(n, size, &total))
		out_of_memory(SIZE_MAX);
	return arena_alloc(a, total);
}

void *arena_memdup(struct arena *a, const void *p, size_t size)
{
	void *q = arena_alloc(a, size);

	if (size)
		memcpy(q, p, size);
	return q;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_memdup(a, s, strlen(s) + 1);
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	s = arena_alloc(a, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(s, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return s;
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}

struct ProtobufCAllocator *arena_protobuf(struct arena *a)
{
	return &a->protobuf;
}
