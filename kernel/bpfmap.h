/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BPF maps (bpf(2)) by raw system calls; -errno where not said otherwise. */
#pragma once
#include <linux/bpf.h>
#include <stddef.h>
#include <stdint.h>

int bpfmap_info(int fd, struct bpf_map_info *ret);
int bpfmap_open(uint32_t id, uint32_t flags); /* BPF_F_RDONLY, BPF_F_WRONLY; descriptor */
int bpfmap_create(const struct bpf_map_info *info); /* descriptor, open to read and write */
/*
 * All elements of a map that nobody changes: keys and values one after the other, in the kernel's
 * order. Both buffers have place for max_entries.
 */
int bpfmap_read(int fd, uint32_t max_entries, void *keys, void *values, uint32_t *ret_n);
int bpfmap_write(int fd, const void *keys, const void *values, uint32_t n);
int bpfmap_freeze(int fd);
/* Number of a loaded program that uses the map, 0 if none does. */
uint32_t bpfmap_user(uint32_t id);
