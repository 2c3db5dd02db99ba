/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writing one image: header, then messages each behind its size, payloads as they come. Bytes are
 * gathered, so that the many small images of a dump cost one write each.
 */
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "image/sealed.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

struct image_writer {
	int fd;
	struct image_set *set;
	struct seal_writer *seal; /* NULL: not encrypted */
	size_t seal_index; /* in the manifest */
	char name[IMAGE_NAME];
	size_t used;
	uint8_t buf[IMAGE_BUFFER];
};

int image_write_failed(struct err *err, int number, const char *name)
{
	switch (number) {
	case ENOSPC:
		return err_set(err, ERR_RESOURCE, number,
			"cannot write image '%s': no space is left in the images directory", name);
	case EDQUOT:
		return err_set(err, ERR_RESOURCE, number,
			"cannot write image '%s': the disk quota of the images directory is used up",
			name);
	case EROFS:
		return err_set(err, ERR_RESOURCE, number,
			"cannot write image '%s': the images directory is read-only", name);
	case ELOOP:
		return err_set(err, ERR_RESOURCE, number,
			"cannot write image '%s': there is a symbolic link of that name", name);
	case ETIMEDOUT:
		return err_set(err, ERR_RESOURCE, number, "cannot write image '%s': who is to take it "
			"takes nothing any more (--timeout waits longer)", name);
	case EINTR:
		if (interrupt_check(err) < 0)
			return -EINTR;
		/* fallthrough */
	default:
		return err_sysn(err, number, "cannot write image '%s'", name);
	}
}

static int write_bytes(struct image_writer *w, const void *bytes, size_t len)
{
	w->set->streamed += w->seal ? 0 : len;
	return w->seal ? seal_write(w->seal, bytes, len) :
			 io_write_patient(w->fd, bytes, len, image_set_patience(w->set));
}

static int flush(struct image_writer *w, struct err *err)
{
	int r = write_bytes(w, w->buf, w->used);

	w->used = 0;
	return r < 0 ? image_write_failed(err, -r, w->name) : 0;
}

int image_put_payload(struct image_writer *w, const void *bytes, size_t len, struct err *err)
{
	int r;

	if (len > sizeof(w->buf) - w->used) {
		r = flush(w, err);
		if (r < 0)
			return r;
	}
	if (len > sizeof(w->buf)) {
		r = write_bytes(w, bytes, len);
		return r < 0 ? image_write_failed(err, -r, w->name) : 0;
	}
	if (len)
		memcpy(w->buf + w->used, bytes, len);
	w->used += len;
	return 0;
}

uint32_t image_first_magic(enum image_id type)
{
	unsigned flags = image_types[type].flags;

	if (type == IMG_INVENTORY || flags & IMGF_RAW)
		return 0;
	return flags & (IMGF_SERVICE | IMGF_SERVICE_MAGIC) ? IMAGE_MAGIC_SERVICE :
							     IMAGE_MAGIC_COMMON;
}

static int put_header(struct image_writer *w, enum image_id type, uint32_t first, struct err *err)
{
	uint32_t own = image_types[type].magic;
	int r = 0;

	if (first)
		r = image_put_payload(w, &first, sizeof(first), err);
	return r < 0 || !own ? r : image_put_payload(w, &own, sizeof(own), err);
}

/* The inventory is what tells others that the rest is encrypted. */
static int seal_begin(struct image_set *set, enum image_id type, struct image_writer *w,
	struct err *err)
{
	uint8_t salt[SEAL_SALT];
	int r;

	if (!set->sealed || type == IMG_INVENTORY)
		return 0;
	r = seal_writer_new(&set->sealed->key, w->name, w->fd, image_set_patience(set), salt,
		&w->seal, err);
	if (r == 0)
		w->seal_index = sealed_note(set->sealed, w->name, salt);
	return r;
}

int image_create_named(struct image_set *set, enum image_id type, const char *name, uint32_t first,
	struct image_writer **ret, struct err *err)
{
	struct image_writer *w = malloc(sizeof(*w));
	int r;

	if (!w)
		return err_nomem(err);
	w->used = 0;
	w->set = set;
	w->seal = NULL;
	snprintf(w->name, sizeof(w->name), "%s", name);
	r = image_create_fd(set, name, &w->fd, err);
	if (r < 0) {
		free(w);
		return r;
	}
	r = seal_begin(set, type, w, err);
	if (r == 0)
		r = put_header(w, type, first, err);
	if (r < 0) {
		seal_writer_free(w->seal);
		close(w->fd);
		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

static int create(struct image_set *set, enum image_id type, unsigned long id, uint32_t first,
	struct image_writer **ret, struct err *err)
{
	char name[IMAGE_NAME];

	table_put(&set->made, table_key((uint64_t)type, id), set);
	image_name(type, id, name, sizeof(name));
	return image_create_named(set, type, name, first, ret, err);
}

int image_create(struct image_set *set, enum image_id type, unsigned long id,
	struct image_writer **ret, struct err *err)
{
	return create(set, type, id, image_first_magic(type), ret, err);
}

int image_create_torpor(struct image_set *set, enum image_id type, unsigned long id,
	struct image_writer **ret, struct err *err)
{
	return create(set, type, id, IMAGE_MAGIC_TORPOR, ret, err);
}

/* Bigger than the buffer: packed aside. */
static int put_large(struct image_writer *w, const void *msg, size_t len, struct err *err)
{
	auto_free uint8_t *packed = malloc(len);

	if (!packed)
		return err_nomem(err);
	protobuf_c_message_pack(msg, packed);
	return image_put_payload(w, packed, len, err);
}

int image_put(struct image_writer *w, const void *msg, struct err *err)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	uint32_t size = (uint32_t)len;
	int r;

	if (len > INT32_MAX)
		return err_bug(err, "a message of %zu bytes for image '%s'", len, w->name);
	r = image_put_payload(w, &size, sizeof(size), err);
	if (r == 0 && len > sizeof(w->buf) - w->used)
		r = flush(w, err);
	if (r < 0)
		return r;
	if (len > sizeof(w->buf))
		return put_large(w, msg, len, err);
	protobuf_c_message_pack(msg, w->buf + w->used);
	w->used += len;
	return 0;
}

int image_sync(struct image_writer *w, struct err *err)
{
	int r = flush(w, err);

	/* EINVAL: a special file system without anything to sync */
	if (r == 0 && fsync(w->fd) < 0 && errno != EINVAL)
		return image_write_failed(err, errno, w->name);
	return r;
}

int image_finish(struct image_writer *w, struct err *err)
{
	int r;

	if (!w)
		return 0;
	r = flush(w, err);
	if (r == 0 && w->seal) {
		r = seal_finish(w->seal);
		w->set->sealed->files.at[w->seal_index].size = seal_size(w->seal);
		w->set->streamed += seal_size(w->seal);
		r = r < 0 ? image_write_failed(err, -r, w->name) : 0;
	}
	seal_writer_free(w->seal);
	/* NFS reports at close what it could not write */
	if (close(w->fd) < 0 && r == 0)
		r = image_write_failed(err, errno, w->name);
	free(w);
	return r;
}
