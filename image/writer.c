// SPDX-License-Identifier: GPL-2.0-or-later
/* Writing one image: header, then messages each behind its size, payloads as they come. */
#include "base/cleanup.h"
#include "base/io.h"
#include "image/priv.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

struct image_writer {
	int fd;
	char name[IMAGE_NAME];
	size_t used;
	uint8_t buf[IMAGE_BUFFER];
};

static int flush(struct image_writer *w, struct err *err)
{
	int r = io_write_all(w->fd, w->buf, w->used);

	w->used = 0;
	if (r < 0)
		return err_sysn(err, -r, "cannot write image '%s'", w->name);
	return 0;
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
		r = io_write_all(w->fd, bytes, len);
		return r < 0 ? err_sysn(err, -r, "cannot write image '%s'", w->name) : 0;
	}
	if (len)
		memcpy(w->buf + w->used, bytes, len);
	w->used += len;
	return 0;
}

static int put_header(struct image_writer *w, enum image_id type, struct err *err)
{
	const struct image_type *t = &image_types[type];
	uint32_t first = t->flags & (IMGF_SERVICE | IMGF_SERVICE_MAGIC) ? IMAGE_MAGIC_SERVICE :
									   IMAGE_MAGIC_COMMON;
	int r = 0;

	if (!t->magic)
		return 0;
	if (type != IMG_INVENTORY)
		r = image_put_payload(w, &first, sizeof(first), err);
	return r < 0 ? r : image_put_payload(w, &t->magic, sizeof(t->magic), err);
}

int image_create_named(struct image_set *set, enum image_id type, const char *name,
	struct image_writer **ret, struct err *err)
{
	struct image_writer *w = malloc(sizeof(*w));
	int r;

	if (!w)
		return err_nomem(err);
	w->used = 0;
	snprintf(w->name, sizeof(w->name), "%s", name);
	r = image_create_fd(set, name, &w->fd, err);
	if (r < 0) {
		free(w);
		return r;
	}
	r = put_header(w, type, err);
	if (r < 0) {
		close(w->fd);
		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

int image_create(struct image_set *set, enum image_id type, unsigned long id,
	struct image_writer **ret, struct err *err)
{
	char name[IMAGE_NAME];

	return image_create_named(set, type, image_name(type, id, name, sizeof(name)), ret, err);
}

int image_put(struct image_writer *w, const void *msg, struct err *err)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	auto_free uint8_t *packed = malloc(len ? len : 1);
	uint32_t size = (uint32_t)len;
	int r;

	if (!packed)
		return err_nomem(err);
	if (len > INT32_MAX)
		return err_bug(err, "a message of %zu bytes for image '%s'", len, w->name);
	protobuf_c_message_pack(msg, packed);
	r = image_put_payload(w, &size, sizeof(size), err);
	return r < 0 ? r : image_put_payload(w, packed, len, err);
}

int image_sync(struct image_writer *w, struct err *err)
{
	int r = flush(w, err);

	if (r == 0 && fsync(w->fd) < 0 && errno != EINVAL)
		return err_sys(err, "cannot write image '%s' to the disk", w->name);
	return r;
}

int image_finish(struct image_writer *w, struct err *err)
{
	int r;

	if (!w)
		return 0;
	r = flush(w, err);
	if (close(w->fd) < 0 && r == 0)
		r = err_sys(err, "cannot write image '%s'", w->name);
	free(w);
	return r;
}
