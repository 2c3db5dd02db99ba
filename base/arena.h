/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arena: everything that lives as long as the world (image messages above all) is allocated here
 * and freed at once. Allocation never fails softly: when memory is out the process ends with one
 * sentence (abort handler), because no caller could do better; the size of what hostile images
 * ask for is limited before (image/limits.h).
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct arena;
struct ProtobufCAllocator;

struct arena *arena_new(void);
void arena_free(struct arena *a);
/* Zeroed memory, aligned to 16 bytes. */
void *arena_alloc(struct arena *a, size_t size);
/* Zeroed array; an overflow of n * size ends the process. */
void *arena_array(struct arena *a, size_t n, size_t size);
char *arena_strdup(struct arena *a, const char *s);
void *arena_memdup(struct arena *a, const void *p, size_t size);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Bytes handed out so far. */
size_t arena_used(const struct arena *a);
/* An allocator for protobuf-c whose frees do nothing; lives as long as the arena. */
struct ProtobufCAllocator *arena_protobuf(struct arena *a);

#define arena_new_of(a, type) ((type *)arena_alloc(a, sizeof(type)))

/* A new initialised protobuf-c message: arena_msg(a, EventfdFileEntry, eventfd_file_entry). */
#define arena_msg(a, type, lower)                                 \
	({                                                        \
		type *m_ = arena_alloc(a, sizeof(type));          \
		lower##__init(m_);                                \
		m_;                                               \
	})

/*
 * Appends to a repeated field, growing by doubling: arena_push(a, msg->v, msg->n_v, x).
 * Only for arrays that grew by this macro from the start, never for one that was unpacked.
 */
#define arena_push(a, vec, n, item)                                                              \
	do {                                                                                     \
		if (((n) & ((n) - 1)) == 0) {                                                    \
			__typeof__(vec) v_ = arena_array(a, (n) ? 2 * (n) : 1, sizeof(*(vec)));  \
			for (size_t i_ = 0; i_ < (n); i_++)                                      \
				v_[i_] = (vec)[i_];                                              \
			(vec) = v_;                                                              \
		}                                                                                \
		(vec)[(n)++] = (item);                                                           \
	} while (0)
