/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading one image. Bytes come through a buffer which grows to the largest message; they are not
 * mapped, because a file that shrinks or a bad disk would then be a SIGBUS instead of an error.
 *
 * Every size is compared with what is left of the file, and memory for parsed messages has the
 * limits of image/limits.h, before anything is allocated.
 */
#include "image/limits.h"
#include "base/io.h"
#include "image/sealed.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct image_reader {
	char name[IMAGE_NAME];
	const ProtobufCMessageDescriptor *desc;
	int fd;
	struct seal_reader *sealed; /* NULL: the file is not encrypted */
	bool torpors; /* begins with torpor's magic */
	size_t len, at; /* of the file */
	uint8_t *buf;
	size_t room, from, have; /* buf holds `have` bytes of the file, the first one at `from` */
};

/* ---- bytes ---- */

static int read_at(struct image_reader *r, void *buf, size_t len, size_t at, struct err *err)
{
	int e = r->sealed ? seal_read(r->sealed, buf, len, at) :
			    io_pread_all(r->fd, buf, len, (off_t)at);

	if (e == -EBADMSG)
		return err_image(err, "image '%s' was changed at byte %zu of its content or behind",
			r->name, at);
	if (e == -EIO)
		return err_image(err, "image '%s' cannot be read at byte %zu", r->name, at);
	return e < 0 ? err_sysn(err, -e, "cannot read image '%s'", r->name) : 0;
}

/* Makes the next `want` bytes, which the file has, stand together in the buffer. */
static int fill(struct image_reader *r, size_t want, struct err *err)
{
	size_t skip = r->at - r->from, keep, len;
	uint8_t *more;
	int e;

	if (skip <= r->have && want <= r->have - skip)
		return 0;
	keep = skip < r->have ? r->have - skip : 0;
	if (keep)
		memmove(r->buf, r->buf + skip, keep);
	r->from = r->at;
	r->have = keep;
	if (want > r->room) {
		more = realloc(r->buf, want);
		if (!more)
			return err_nomem(err);
		r->buf = more;
		r->room = want;
	}
	len = r->len - r->at < r->room ? r->len - r->at : r->room;
	e = read_at(r, r->buf + keep, len - keep, r->at + keep, err);
	if (e == 0)
		r->have = len;
	return e;
}

static int take(struct image_reader *r, void *buf, size_t len, const char *what, struct err *err)
{
	size_t near, skip;
	int e;

	if (r->len - r->at < len)
		return err_image(err, "image '%s' ends in the middle of %s at byte %zu", r->name, what,
			r->at);
	if (len > r->room) {
		skip = r->at - r->from;
		near = skip < r->have ? r->have - skip : 0;
		if (near)
			memcpy(buf, r->buf + skip, near);
		e = read_at(r, (uint8_t *)buf + near, len - near, r->at + near, err);
	} else {
		e = fill(r, len, err);
		if (e == 0 && len)
			memcpy(buf, r->buf + (r->at - r->from), len);
	}
	if (e == 0)
		r->at += len;
	return e;
}

/* ---- opening ---- */

static int check_header(struct image_reader *r, enum image_id type, const struct image_set *set,
	struct err *err)
{
	const struct image_type *t = &image_types[type];
	uint32_t first = image_first_magic(type), magic = 0;
	int e;

	if (!t->magic)
		return 0;
	/* readers of service images take an empty one for none; others are never empty */
	if (r->len == 0 && t->flags & IMGF_SERVICE)
		return 0;
	if (first && (set->version != 1 || t->flags & IMGF_SERVICE_MAGIC)) {
		e = take(r, &magic, sizeof(magic), "its header", err);
		if (e < 0)
			return e;
		r->torpors = magic == IMAGE_MAGIC_TORPOR;
		if (magic != first && !(r->torpors && set->needs))
			return err_image(err, "image '%s' starts with 0x%08x instead of 0x%08x",
				r->name, magic, first);
	}
	e = take(r, &magic, sizeof(magic), "its header", err);
	if (e == 0 && magic != t->magic)
		return err_image(err, "image '%s' has the magic 0x%08x instead of 0x%08x", r->name,
			magic, t->magic);
	return e;
}

static int size_file(struct image_reader *r, const struct image_set *set,
	const struct sealed_file *sealed, struct err *err)
{
	struct stat st;
	int e;

	if (fstat(r->fd, &st) < 0)
		return err_sys(err, "cannot look at image '%s'", r->name);
	if (!S_ISREG(st.st_mode))
		return err_image(err, "image '%s' is no regular file", r->name);
	r->len = (size_t)st.st_size;
	if (sealed) {
		e = seal_reader_new(&set->sealed->key, r->name, r->fd, r->len, sealed->salt,
			&r->sealed, err);
		if (e < 0)
			return e;
		r->len = seal_length(r->sealed);
	}
	r->room = r->len < IMAGE_BUFFER ? r->len : IMAGE_BUFFER;
	r->buf = malloc(r->room ? r->room : 1);
	return r->buf ? 0 : err_nomem(err);
}

/*
 * -1: there is no such file. An encrypted set has those of its manifest only; one that is being
 * written, those that were written. *ret_sealed: how it is encrypted, or NULL.
 */
static int open_file(struct image_set *set, enum image_id type, const char *name,
	const struct sealed_file **ret_sealed, int *ret_fd, struct err *err)
{
	const struct sealed_file *f;

	*ret_sealed = NULL;
	*ret_fd = -1;
	if (set->sealed && !set->write && type == IMG_INVENTORY)
		return sealed_open_inventory(set->sealed, ret_fd, err);
	if (set->sealed) {
		f = sealed_find(set->sealed, name);
		if (f && f->has_salt)
			*ret_sealed = f;
		else if (!set->write)
			return 0;
	}
	/* O_NONBLOCK: a fifo of that name must not stop us */
	*ret_fd = openat(set->dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*ret_fd >= 0 || (errno == ENOENT && !*ret_sealed))
		return 0;
	return err_sys(err, "cannot open image '%s'", name);
}

int image_open(struct image_set *set, enum image_id type, unsigned long id,
	struct image_reader **ret, struct err *err)
{
	const struct sealed_file *sealed;
	struct image_reader *r;
	char name[IMAGE_NAME];
	int fd, e;

	*ret = NULL;
	image_name(type, id, name, sizeof(name));
	e = open_file(set, type, name, &sealed, &fd, err);
	if (e < 0 || fd < 0)
		return e;
	r = calloc(1, sizeof(*r));
	if (!r)
		abort();
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->desc = image_types[type].desc;
	r->fd = fd;
	e = size_file(r, set, sealed, err);
	if (e == 0)
		e = check_header(r, type, set, err);
	if (e < 0) {
		image_reader_close(r);
		return e;
	}
	*ret = r;
	return 0;
}

/* ---- messages ---- */

/* Gives a message memory as long as it stays within its limits. */
struct ration {
	ProtobufCAllocator allocator;
	struct arena *arena;
	const char *stack; /* where parsing began */
	size_t left;
	const char *refused; /* why, or NULL */
};

static void *ration_alloc(void *data, size_t size)
{
	struct ration *n = data;
	const char *here = __builtin_frame_address(0);
	size_t deep = here < n->stack ? (size_t)(n->stack - here) : 0;

	if (deep > IMAGE_STACK_MAX)
		n->refused = "is nested too deeply";
	else if (size > n->left)
		n->refused = "takes too much memory";
	if (n->refused)
		return NULL;
	n->left -= size;
	return arena_alloc(n->arena, size);
}

static void ration_free(void *data, void *p)
{
	(void)data;
	(void)p;
}

static size_t arena_left(const struct arena *a)
{
	size_t used = arena_used(a);

	return used < IMAGE_ARENA_MAX ? IMAGE_ARENA_MAX - used : 0;
}

static int parse(struct image_reader *r, const ProtobufCMessageDescriptor *desc, size_t size,
	struct arena *a, ProtobufCMessage **ret, struct err *err)
{
	size_t most = IMAGE_GROWTH_FREE + size * IMAGE_GROWTH;
	struct ration n = {
		.allocator = { ration_alloc, ration_free, &n },
		.arena = a,
		.stack = __builtin_frame_address(0),
		.left = most < arena_left(a) ? most : arena_left(a),
	};

	*ret = protobuf_c_message_unpack(desc, &n.allocator, size, r->buf + (r->at - r->from));
	if (*ret)
		return 0;
	if (n.refused)
		return err_image(err, "image '%s': the message at byte %zu %s", r->name,
			r->at - sizeof(uint32_t), n.refused);
	return err_image(err, "image '%s' has no valid %s at byte %zu", r->name, desc->name,
		r->at - sizeof(uint32_t));
}

int image_next_as(struct image_reader *r, const ProtobufCMessageDescriptor *desc, struct arena *a,
	void *ret_msg, struct err *err)
{
	ProtobufCMessage *msg;
	uint32_t size;
	int e;

	if (r->at == r->len)
		return 0;
	e = take(r, &size, sizeof(size), "a size", err);
	if (e < 0)
		return e;
	if (size > r->len - r->at || size > IMAGE_MESSAGE_MAX)
		return err_image(err,
			"image '%s' has a message of %u bytes at byte %zu, but only %zu are left",
			r->name, size, r->at - sizeof(size), r->len - r->at);
	e = fill(r, size, err);
	if (e == 0)
		e = parse(r, desc, size, a, &msg, err);
	if (e < 0)
		return e;
	r->at += size;
	*(ProtobufCMessage **)ret_msg = msg;
	return 1;
}

int image_next(struct image_reader *r, struct arena *a, void *ret_msg, struct err *err)
{
	return image_next_as(r, r->desc, a, ret_msg, err);
}

/* ---- payloads ---- */

int image_payload(struct image_reader *r, void *buf, size_t len, struct err *err)
{
	return take(r, buf, len, "a payload", err);
}

int image_payload_keep(struct image_reader *r, size_t len, struct arena *a, void **ret,
	struct err *err)
{
	if (r->len - r->at < len)
		return err_image(err, "image '%s' has a payload of %zu bytes at byte %zu, but only "
			"%zu are left", r->name, len, r->at, r->len - r->at);
	if (len > arena_left(a))
		return err_image(err, "image '%s': the payload at byte %zu takes too much memory",
			r->name, r->at);
	*ret = arena_alloc(a, len);
	return take(r, *ret, len, "a payload", err);
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

bool image_is_torpors(const struct image_reader *r)
{
	return r->torpors;
}

void image_reader_close(struct image_reader *r)
{
	if (!r)
		return;
	close(r->fd);
	seal_reader_free(r->sealed);
	free(r->buf);
	free(r);
}
