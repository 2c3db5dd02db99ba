/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bpfmaps: an array; a hash with some elements, open twice, once to read only, shared with a child;
 * one frozen; one empty.
 */
#include "descriptors.h"
#include <linux/bpf.h>

enum { N = 1000 };

struct key {
	uint32_t a, b;
};

static int array, hash, hash_reader, frozen, none;

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int new_map(
	unsigned type, unsigned key, unsigned value, unsigned n, unsigned flags, const char *name)
{
	union bpf_attr attr = { .map_type = type,
		.key_size = key,
		.value_size = value,
		.max_entries = n,
		.map_flags = flags };
	int fd;

	snprintf(attr.map_name, sizeof(attr.map_name), "%s", name);
	fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		skip("no bpf(2)");
	NEED(fd >= 0);
	return fd;
}

static struct bpf_map_info info_of(int fd)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr attr = {
		.info = { .bpf_fd = fd, .info_len = sizeof(info), .info = (uintptr_t)&info }
	};

	CHECK(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0);
	return info;
}

static int put(int fd, const void *key, const void *value)
{
	union bpf_attr attr = { .map_fd = fd, .key = (uintptr_t)key, .value = (uintptr_t)value };

	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

static int get(int fd, const void *key, void *value)
{
	union bpf_attr attr = { .map_fd = fd, .key = (uintptr_t)key, .value = (uintptr_t)value };

	return bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

static int opened_again(int fd, unsigned flags)
{
	union bpf_attr attr = { .map_id = info_of(fd).id };
	int again;

	attr.open_flags = flags;
	again = bpf(BPF_MAP_GET_FD_BY_ID, &attr);
	NEED(again >= 0);
	return again;
}

static void set_up(void)
{
	uint32_t zero = 0;
	uint64_t v;

	array = new_map(BPF_MAP_TYPE_ARRAY, 4, 12, 40, 0, "an.array_40");
	hash = new_map(BPF_MAP_TYPE_HASH, sizeof(struct key), 8, 3 * N, BPF_F_NO_PREALLOC, "");
	hash_reader = opened_again(hash, BPF_F_RDONLY);
	frozen = new_map(BPF_MAP_TYPE_ARRAY, 4, 8, 1, BPF_F_RDONLY_PROG, "frozen");
	none = new_map(BPF_MAP_TYPE_HASH, 1, 1, 1, 0, "none");
	for (uint32_t i = 0; i < 40; i++)
		NEED(put(array, &i, (char[12]){ i, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ~i }) == 0);
	for (uint32_t i = 0; i < N; i++) {
		v = i * 77ULL;
		NEED(put(hash, &(struct key){ i, ~i }, &v) == 0);
	}
	v = 5;
	NEED(put(frozen, &zero, &v) == 0);
	NEED(bpf(BPF_MAP_FREEZE, &(union bpf_attr){ .map_fd = frozen }) == 0);
}

static void kid(void *arg)
{
	uint64_t v;

	(void)arg;
	child_up();
	wait_term();
	CHECK(get(hash_reader, &(struct key){ 1, ~1U }, &v) == 0);
	SAME(v, 4711); /* the parent's */
	v++;
	CHECK(put(hash, &(struct key){ 1, ~1U }, &v) == 0);
}

static void check_array(void)
{
	struct bpf_map_info info = info_of(array);

	SAME(info.type, BPF_MAP_TYPE_ARRAY);
	SAME(info.value_size, 12);
	SAME(info.max_entries, 40);
	CHECK(!strcmp(info.name, "an.array_40"));
	for (uint32_t i = 0; i < 40; i++) {
		char v[12];

		CHECK(get(array, &i, v) == 0);
		SAME(v[0], (char)i);
		SAME(v[11], (char)~i);
	}
}

static void check_hash(void)
{
	uint64_t v;

	for (uint32_t i = 2; i < N; i++) {
		CHECK(get(hash, &(struct key){ i, ~i }, &v) == 0);
		SAME(v, i * 77ULL);
	}
	CHECK(get(hash, &(struct key){ N, ~N }, &v) < 0 && errno == ENOENT);
	SAME(info_of(hash).map_flags, BPF_F_NO_PREALLOC);
	SAME(info_of(hash).id, info_of(hash_reader).id);
	CHECK(put(hash_reader, &(struct key){ 0 }, &v) < 0 && errno == EPERM);
}

static void check_rest(void)
{
	uint32_t zero = 0;
	uint64_t v = 0;

	CHECK(get(frozen, &zero, &v) == 0);
	SAME(v, 5);
	CHECK(put(frozen, &zero, &v) < 0 && errno == EPERM);
	SAME(info_of(frozen).map_flags, BPF_F_RDONLY_PROG);
	CHECK(get(none, &zero, &v) < 0 && errno == ENOENT);
	CHECK(put(none, &zero, &v) == 0);
	SAME(fcntl(hash, F_GETFD), FD_CLOEXEC);
}

int main(int argc, char **argv)
{
	uint64_t v = 4711;
	pid_t pid;

	subject_init(argc, argv);
	set_up();
	pid = child(kid, NULL);
	ready();
	wait_term();
	check_array();
	check_hash();
	check_rest();
	CHECK(put(hash, &(struct key){ 1, ~1U }, &v) == 0);
	child_end(pid);
	CHECK(get(hash_reader, &(struct key){ 1, ~1U }, &v) == 0);
	SAME(v, 4712);
	pass();
}
