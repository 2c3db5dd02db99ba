/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BPF maps: arrays and hashes that no program uses. The kernel gives a restored map another number.
 * Whether somebody outside has one as well (a pinned one) cannot be told: the tree gets its own.
 */
#include "kernel/bpfmap.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { SEEN_MAPS = 760 };
static const uint32_t known_flags = BPF_F_NO_PREALLOC | BPF_F_ZERO_SEED | BPF_F_RDONLY_PROG |
				    BPF_F_WRONLY_PROG | BPF_F_MMAPABLE;
static const uint64_t bytes_max = 1 << 30; /* of the keys, of the values */

static bool bpfmap_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:bpf-map");
}

static bool known_type(uint32_t type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_HASH;
}

static uint64_t room_for(const BpfmapFileEntry *e, uint32_t size)
{
	return (uint64_t)e->max_entries * size;
}

/* ---- dump ---- */

static int refuse(
	const struct fd_look *l, const struct bpf_map_info *i, const char *what, struct err *err)
{
	char who[96];

	return err_unsupported(err, "%s is the BPF map %u '%s' %s; it cannot be saved",
		file_look_who(l, who, sizeof(who)), i->id, i->name, what);
}

static int check_kind(const struct fd_look *l, const struct bpf_map_info *i, struct err *err)
{
	uint32_t user;
	char what[64];

	if (!known_type(i->type)) {
		snprintf(what, sizeof(what), "of type %u, neither array nor hash", i->type);
		return refuse(l, i, what, err);
	}
	if (i->map_flags & ~known_flags || i->ifindex || i->map_extra) {
		snprintf(what, sizeof(what), "with flags 0x%x or on a device", i->map_flags);
		return refuse(l, i, what, err);
	}
	if (i->btf_id)
		return refuse(l, i, "whose elements have types (BTF)", err);
	if ((uint64_t)i->max_entries * i->key_size > bytes_max ||
		(uint64_t)i->max_entries * i->value_size > bytes_max)
		return refuse(l, i, "of more than 1 GiB", err);
	user = bpfmap_user(i->id);
	if (!user)
		return 0;
	snprintf(what, sizeof(what), "that program %u uses", user);
	return refuse(l, i, what, err);
}

static void add_content(
	struct world *w, const BpfmapFileEntry *e, const void *keys, const void *values, uint32_t n)
{
	BpfmapDataEntry *data = arena_msg(w->arena, BpfmapDataEntry, bpfmap_data_entry);
	struct entry *entry;
	char *bytes;

	data->map_id = e->map_id;
	data->count = n;
	data->keys_bytes = n * e->key_size;
	data->values_bytes = n * e->value_size;
	entry = world_add(w, IMG_BPFMAP_DATA, 0, data);
	entry->payload_len = (size_t)data->keys_bytes + data->values_bytes;
	bytes = arena_alloc(w->arena, entry->payload_len + 1);
	memcpy(bytes, keys, data->keys_bytes);
	memcpy(bytes + data->keys_bytes, values, data->values_bytes);
	entry->payload = bytes;
}

static int save_content(const struct fd_look *l, const BpfmapFileEntry *e, struct err *err)
{
	auto_close int fd = bpfmap_open(e->map_id, BPF_F_RDONLY);
	auto_free void *keys = calloc(e->max_entries, e->key_size);
	auto_free void *values = calloc(e->max_entries, e->value_size);
	uint32_t n = 0;
	int r = fd < 0 ? fd : -ENOMEM;

	if (fd >= 0 && keys && values)
		r = bpfmap_read(fd, e->max_entries, keys, values, &n);
	if (r < 0)
		return err_sysn(err, -r, "cannot read the BPF map %u '%s'", e->map_id, e->map_name);
	add_content(l->world, e, keys, values, n);
	return 0;
}

static BpfmapFileEntry *describe_map(
	const struct fd_look *l, const struct bpf_map_info *i, uint32_t id)
{
	BpfmapFileEntry *e = arena_msg(l->world->arena, BpfmapFileEntry, bpfmap_file_entry);

	e->id = id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	e->map_type = i->type;
	e->key_size = i->key_size;
	e->value_size = i->value_size;
	e->map_id = i->id;
	e->max_entries = i->max_entries;
	e->map_flags = i->map_flags;
	e->frozen = fdinfo_parse_bpfmap(l->fdinfo, &e->memlock);
	e->map_name = arena_printf(l->world->arena, "%.15s", i->name);
	return e;
}

static int bpfmap_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	struct bpf_map_info info;
	uint64_t key;
	int r = bpfmap_info(l->dup, &info);
	char who[96];

	if (r < 0)
		return err_sysn(err, -r, "%s: cannot look at a BPF map",
			file_look_who(l, who, sizeof(who)));
	r = check_kind(l, &info, err);
	if (r < 0)
		return r;
	fe->bpf = describe_map(l, &info, fe->id);
	key = table_key(SEEN_MAPS, info.id);
	if (table_get(l->seen, key))
		return 0;
	table_put(l->seen, key, fe);
	return save_content(l, fe->bpf, err);
}

/* ---- restore ---- */

static const struct entry *content_of(const struct world *w, uint32_t map_id)
{
	return world_entry(w, IMG_BPFMAP_DATA, map_id);
}

static void bpfmap_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const BpfmapFileEntry *e = fe->bpf;
	const struct entry *content = content_of(w, e->map_id);
	const BpfmapDataEntry *data = content ? content->msg : NULL;

	if (!known_type(e->map_type))
		finding_add(f, "bpf-type", SEV_ERROR, 0,
			"BPF map %u (file %u) is of type %u, neither "
			"array nor hash",
			e->map_id, fe->id, e->map_type);
	if (room_for(e, e->key_size) > bytes_max || room_for(e, e->value_size) > bytes_max ||
		strlen(e->map_name) >= BPF_OBJ_NAME_LEN)
		finding_add(f, "bpf-size", SEV_ERROR, 0,
			"BPF map %u (file %u) is impossible: %u elements "
			"of %u and %u bytes, '%.32s'",
			e->map_id, fe->id, e->max_entries, e->key_size, e->value_size, e->map_name);
	if (!data)
		return;
	if (data->count > e->max_entries ||
		data->keys_bytes != (uint64_t)data->count * e->key_size ||
		data->values_bytes != (uint64_t)data->count * e->value_size)
		finding_add(f, "bpf-content", SEV_ERROR, 0,
			"BPF map %u (file %u) has %u elements of %u "
			"bytes, %u and %u bytes of them, and place for %u",
			e->map_id, fe->id, data->count, e->key_size + e->value_size,
			data->keys_bytes, data->values_bytes, e->max_entries);
}

static int fill(int fd, const struct entry *content)
{
	const BpfmapDataEntry *data = content->msg;

	return bpfmap_write(fd, content->payload, (const char *)content->payload + data->keys_bytes,
		data->count);
}

static int make(const struct world *w, const BpfmapFileEntry *e, int *ret_fd, struct err *err)
{
	struct bpf_map_info info = {
		.type = e->map_type,
		.key_size = e->key_size,
		.value_size = e->value_size,
		.max_entries = e->max_entries,
		.map_flags = e->map_flags & ~(uint32_t)(BPF_F_RDONLY | BPF_F_WRONLY),
		.ifindex = e->ifindex,
		.map_extra = e->map_extra,
	};
	const struct entry *content = content_of(w, e->map_id);
	auto_close int fd = -1;
	int r;

	snprintf(info.name, sizeof(info.name), "%s", e->map_name);
	fd = r = bpfmap_create(&info);
	if (r >= 0 && content)
		r = fill(fd, content);
	if (r >= 0 && e->frozen)
		r = bpfmap_freeze(fd);
	if (r < 0)
		return err_sysn(
			err, -r, "cannot make the BPF map %u '%s' again", e->map_id, e->map_name);
	*ret_fd = take_fd(&fd);
	return 0;
}

/* The map itself, held until the end. */
static int hold(struct file_maker *m, const BpfmapFileEntry *e, int *ret_fd, struct err *err)
{
	uint64_t key = table_key(FD_TYPES__BPFMAP, e->map_id);
	intptr_t held = (intptr_t)table_get(&m->made, key);
	int r;

	if (held) {
		*ret_fd = (int)held - 1;
		return 0;
	}
	r = make(m->world, e, ret_fd, err);
	if (r == 0)
		table_put(&m->made, key, (void *)(intptr_t)(*ret_fd + 1));
	return r;
}

static uint32_t open_flags(uint32_t flags)
{
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		return BPF_F_RDONLY;
	case O_WRONLY:
		return BPF_F_WRONLY;
	default:
		return 0;
	}
}

static int bpfmap_create_room(
	struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const BpfmapFileEntry *e = fe->bpf;
	struct bpf_map_info info;
	auto_close int fd = -1;
	int holder = -1, r = hold(m, e, &holder, err);

	if (r < 0)
		return r;
	r = bpfmap_info(holder, &info);
	if (r == 0)
		fd = r = bpfmap_open(info.id, open_flags(e->flags));
	if (r < 0)
		return err_sysn(err, -r, "cannot open the BPF map %u '%s'", e->map_id, e->map_name);
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static void bpfmap_clean(struct file_maker *m)
{
	const struct entry_list *list = &m->world->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;
		uint64_t key = fe->bpf ? table_key(FD_TYPES__BPFMAP, fe->bpf->map_id) : 0;
		intptr_t held = fe->bpf ? (intptr_t)table_get(&m->made, key) : 0;

		if (held > 0) {
			close((int)held - 1);
			table_put(&m->made, key, (void *)(intptr_t)-1);
		}
	}
}

static void bpfmap_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "BPF map %u '%s'", fe->bpf->map_id, fe->bpf->map_name);
}

const struct file_kind file_kind_bpfmap = {
	.name = "BPF map",
	.type = FD_TYPES__BPFMAP,
	.match = bpfmap_match,
	.collect = bpfmap_collect,
	.check = bpfmap_check,
	.create = bpfmap_create_room,
	.clean = bpfmap_clean,
	.describe = bpfmap_describe,
};
