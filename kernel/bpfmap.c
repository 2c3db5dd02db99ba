/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "kernel/bpfmap.h"
#include "base/cleanup.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAPS_MAX = 64 }; /* what a program can use: MAX_USED_MAPS */

static int call(int cmd, union bpf_attr *attr)
{
	int r = (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : r;
}

static int object_info(int fd, void *info, size_t size)
{
	union bpf_attr attr = { .info = { .bpf_fd = (uint32_t)fd,
					.info_len = (uint32_t)size,
					.info = (uintptr_t)info } };

	return call(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

int bpfmap_info(int fd, struct bpf_map_info *ret)
{
	*ret = (struct bpf_map_info){ 0 };
	return object_info(fd, ret, sizeof(*ret));
}

int bpfmap_open(uint32_t id, uint32_t flags)
{
	union bpf_attr attr = { .map_id = id };

	attr.open_flags = flags;
	return call(BPF_MAP_GET_FD_BY_ID, &attr);
}

int bpfmap_create(const struct bpf_map_info *info)
{
	union bpf_attr attr = {
		.map_type = info->type,
		.key_size = info->key_size,
		.value_size = info->value_size,
		.max_entries = info->max_entries,
		.map_flags = info->map_flags,
		.map_ifindex = info->ifindex,
		.map_extra = info->map_extra,
	};

	memcpy(attr.map_name, info->name, sizeof(attr.map_name));
	return call(BPF_MAP_CREATE, &attr);
}

static union bpf_attr batch(int fd, const void *keys, const void *values, uint32_t n)
{
	union bpf_attr attr = { .batch = { .keys = (uintptr_t)keys,
					.values = (uintptr_t)values,
					.count = n,
					.map_fd = (uint32_t)fd } };

	return attr;
}

int bpfmap_read(int fd, uint32_t max_entries, void *keys, void *values, uint32_t *ret_n)
{
	uint64_t next[64] = { 0 }; /* a position: four bytes, or a key of an array */
	union bpf_attr attr = batch(fd, keys, values, max_entries);
	int r;

	attr.batch.out_batch = (uintptr_t)next;
	r = call(BPF_MAP_LOOKUP_BATCH, &attr);
	/* No more elements, the usual end. */
	if (r == -ENOENT)
		r = 0;
	*ret_n = r < 0 ? 0 : attr.batch.count;
	return r;
}

int bpfmap_write(int fd, const void *keys, const void *values, uint32_t n)
{
	union bpf_attr attr = batch(fd, keys, values, n);
	int r = n ? call(BPF_MAP_UPDATE_BATCH, &attr) : 0;

	return r < 0 || attr.batch.count == n ? r : -EIO;
}

int bpfmap_freeze(int fd)
{
	union bpf_attr attr = { .map_fd = (uint32_t)fd };

	return call(BPF_MAP_FREEZE, &attr);
}

static bool uses(uint32_t program, uint32_t map)
{
	union bpf_attr attr = { .prog_id = program };
	struct bpf_prog_info info = { 0 };
	uint32_t ids[MAPS_MAX] = { 0 };
	auto_close int fd = call(BPF_PROG_GET_FD_BY_ID, &attr);

	info.nr_map_ids = MAPS_MAX;
	info.map_ids = (uintptr_t)ids;
	if (fd < 0 || object_info(fd, &info, sizeof(info)) < 0)
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		if (ids[i] == map)
			return true;
	return false;
}

uint32_t bpfmap_user(uint32_t id)
{
	union bpf_attr attr = { .start_id = 0 };

	while (call(BPF_PROG_GET_NEXT_ID, &attr) >= 0) {
		if (uses(attr.next_id, id))
			return attr.next_id;
		attr.start_id = attr.next_id;
	}
	return 0;
}
