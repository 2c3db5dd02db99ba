/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A growing array: struct vec_of(type) v = {0}; vec_push(&v, item); vec_done(&v). Items move when it grows. */
#pragma once
#include <stddef.h>
#include <stdlib.h>

#define vec_of(type)       \
	{                  \
		type *at;  \
		size_t n;  \
		size_t room; \
	}

/* Ends the process when memory is out, as arenas do. */
static inline void *vec_grow(void *at, size_t *room, size_t size)
{
	size_t want = *room ? 2 * *room : 16;
	void *more = reallocarray(at, want, size);

	if (!more)
		abort();
	*room = want;
	return more;
}

#define vec_push(v, item)                                                                      \
	do {                                                                                   \
		if ((v)->n == (v)->room)                                                       \
			(v)->at = vec_grow((v)->at, &(v)->room, sizeof(*(v)->at));             \
		(v)->at[(v)->n++] = (item);                                                    \
	} while (0)

#define vec_each(it, v) for (__typeof__(&*(v)->at) it = (v)->at; it && it < (v)->at + (v)->n; it++)

#define vec_done(v)              \
	do {                     \
		free((v)->at);   \
		(v)->at = NULL;  \
		(v)->n = 0;      \
		(v)->room = 0;   \
	} while (0)
