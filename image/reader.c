// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading one image. The file is mapped, every size is checked against what is left of it, and a
 * message is parsed straight from the mapping into the caller's arena.
 */
#include "base/cleanup.h"
#include "image/priv.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct image_reader {
	char name[IMAGE_NAME];
	const ProtobufCMessageDescriptor *desc;
	const uint8_t *bytes; /* NULL for an empty file */
	size_t len, at;
};

static int take(struct image_reader *r, void *buf, size_t len, const char *what, struct err *err)
{
	if (r->len - r->at < len)
		return err_image(err, "image '%s' ends in the middle of %s at byte %zu", r->name, what,
			r->at);
	if (len)
		memcpy(buf, r->bytes + r->at, len);
	r->at += len;
	return 0;
}

static int check_header(struct image_reader *r, enum image_id type, uint32_t version,
	struct err *err)
{
	const struct image_type *t = &image_types[type];
	uint32_t common = t->flags & (IMGF_SERVICE | IMGF_SERVICE_MAGIC) ? IMAGE_MAGIC_SERVICE :
									    IMAGE_MAGIC_COMMON;
	uint32_t magic = 0;
	int e;

	if (!t->magic)
		return 0;
	if (type != IMG_INVENTORY && version != 1) {
		e = take(r, &magic, sizeof(magic), "its header", err);
		if (e < 0)
			return e;
		if (magic != common)
			return err_image(err, "image '%s' starts with 0x%08x instead of 0x%08x",
				r->name, magic, common);
	}
	e = take(r, &magic, sizeof(magic), "its header", err);
	if (e == 0 && magic != t->magic)
		return err_image(err, "image '%s' has the magic 0x%08x instead of 0x%08x", r->name,
			magic, t->magic);
	return e;
}

static int map_file(struct image_reader *r, int fd, struct err *err)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at image '%s'", r->name);
	if (!S_ISREG(st.st_mode))
		return err_image(err, "image '%s' is no regular file", r->name);
	if (st.st_size == 0)
		return 0;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return err_sys(err, "cannot map image '%s'", r->name);
	r->bytes = p;
	r->len = (size_t)st.st_size;
	return 0;
}

int image_open(struct image_set *set, enum image_id type, unsigned long id,
	struct image_reader **ret, struct err *err)
{
	struct image_reader *r;
	char name[IMAGE_NAME];
	auto_close int fd = -1;
	int e;

	*ret = NULL;
	image_name(type, id, name, sizeof(name));
	fd = openat(set->dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot open image '%s'", name);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_nomem(err);
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->desc = image_types[type].desc;
	e = map_file(r, fd, err);
	if (e == 0 && r->len)
		e = check_header(r, type, set->version, err);
	if (e < 0) {
		image_reader_close(r);
		return e;
	}
	*ret = r;
	return 0;
}

int image_next_as(struct image_reader *r, const ProtobufCMessageDescriptor *desc, struct arena *a,
	void *ret_msg, struct err *err)
{
	size_t start = r->at;
	ProtobufCMessage *msg;
	uint32_t size;
	int e;

	if (r->at == r->len)
		return 0;
	e = take(r, &size, sizeof(size), "a size", err);
	if (e < 0)
		return e;
	if (size > r->len - r->at)
		return err_image(err,
			"image '%s' has a message of %u bytes at byte %zu, but only %zu are left",
			r->name, size, start, r->len - r->at);
	msg = protobuf_c_message_unpack(desc, arena_protobuf(a), size, r->bytes + r->at);
	if (!msg)
		return err_image(err, "image '%s' has no valid %s at byte %zu", r->name, desc->name,
			start);
	r->at += size;
	*(ProtobufCMessage **)ret_msg = msg;
	return 1;
}

int image_next(struct image_reader *r, struct arena *a, void *ret_msg, struct err *err)
{
	return image_next_as(r, r->desc, a, ret_msg, err);
}

int image_payload(struct image_reader *r, void *buf, size_t len, struct err *err)
{
	return take(r, buf, len, "a payload", err);
}

int image_skip(struct image_reader *r, size_t len, struct err *err)
{
	if (r->len - r->at < len)
		return err_image(err, "image '%s' ends in the middle of a payload at byte %zu",
			r->name, r->at);
	r->at += len;
	return 0;
}

size_t image_left(const struct image_reader *r)
{
	return r->len - r->at;
}

off_t image_offset(const struct image_reader *r)
{
	return (off_t)r->at;
}

const char *image_reader_name(const struct image_reader *r)
{
	return r->name;
}

void image_reader_close(struct image_reader *r)
{
	if (!r)
		return;
	if (r->bytes)
		munmap((void *)r->bytes, r->len);
	free(r);
}
