/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * io_uring (io_uring_setup(2), io_uring_enter(2), io_uring_register(2)) by raw system calls; what
 * /proc/PID/fdinfo/N tells of a ring (io_uring/fdinfo.c); its memory as this kernel lays it out.
 */
#pragma once
#include "base/parse.h"
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uring_info {
	uint32_t sq_entries, cq_entries;
	uint32_t taken; /* requests, modulo 2^32 */
	uint32_t posted; /* completions, modulo 2^32 */
	int sq_thread, sq_cpu; /* -1: no thread of its own */
	uint32_t file_slots, buffer_slots;
	bool polls, overflow; /* requests that wait for files; completions that had no place */
	bool personalities;
};

/* False: the text tells less than that. */
bool uring_parse(const char *text, struct uring_info *ret);
/* Where the lists of registered files and buffers begin in that text. */
struct cursor uring_files(const char *text);
struct cursor uring_buffers(const char *text);
/* The next registered file: its slot and name, which is not terminated. False: no more. */
bool uring_next_file(struct cursor *c, uint32_t *ret_slot, const char **ret_name, size_t *ret_len);
bool uring_next_buffer(struct cursor *c, uint32_t *ret_slot, uint64_t *ret_addr, uint64_t *ret_len);

int uring_setup(uint32_t entries, struct io_uring_params *p); /* descriptor or -errno */
int uring_enter(int fd, uint32_t submit, uint32_t flags); /* how many, or -errno */
int uring_register(int fd, unsigned op, const void *arg, uint32_t n);

/* A ring mapped into our memory. */
struct uring_map {
	char *rings; /* heads, tails, sq_array, cqes */
	size_t rings_len;
	char *sqes;
	size_t sqes_len;
	struct io_sqring_offsets sq;
	struct io_cqring_offsets cq;
	bool has_array;
};

/*
 * Maps a ring of which the descriptor and the sizes are known; -errno (-EINVAL: it has memory that
 * it was given, or entries of another size).
 */
int uring_map(int fd, uint32_t sq_entries, uint32_t cq_entries, struct uring_map *ret);
void uring_unmap(struct uring_map *m);
static inline uint32_t *uring_word(const struct uring_map *m, uint32_t offset)
{
	return (uint32_t *)(m->rings + offset);
}
