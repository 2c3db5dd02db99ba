// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/server_files.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "pages/pages.h"
#include "pages/wire.h"
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct taking {
	struct conn *conn;
	struct image_set *set;
	int fd; /* the file at hand, or -1 */
	uint32_t id;
	uint64_t size;
	uint8_t *bytes; /* BATCH_BYTES */
	struct files_taken *taken;
	struct err *why; /* the first failure; then all is thrown away */
	bool told; /* the sender knows it */
};

static int broken(const struct taking *t, struct err *err)
{
	return conn_ended(t->conn, "before it said that this was all", err);
}

static int nonsense(const struct taking *t, uint32_t kind, uint64_t number, struct err *err)
{
	return err_set(err, ERR_RESOURCE, EPROTO, "%s sends the impossible frame %u (%lu)",
		t->conn->peer, kind, number);
}

static int cannot_write(const struct taking *t, int number, struct err *err)
{
	return err_sysn(err, number, "cannot write pages-%u.img", t->id);
}

static int begin_file(struct taking *t, uint64_t id, struct err *err)
{
	t->id = (uint32_t)id;
	t->size = 0;
	t->taken->files++;
	return image_create_raw(t->set, IMG_PAGES, t->id, &t->fd, err);
}

static int end_file(struct taking *t, struct err *err)
{
	int fd = t->fd;

	t->fd = -1;
	return close(fd) < 0 ? cannot_write(t, errno, err) : 0;
}

static int add_hole(struct taking *t, uint64_t len, struct err *err)
{
	if (__builtin_add_overflow(t->size, len, &t->size) || t->size > INT64_MAX)
		return cannot_write(t, EFBIG, err);
	if (ftruncate(t->fd, (off_t)t->size) < 0 || lseek(t->fd, 0, SEEK_END) < 0)
		return cannot_write(t, errno, err);
	return 0;
}

/* Takes the bytes off the stream in any case; only a broken stream is an error. */
static int add_data(struct taking *t, uint64_t left, struct err *err)
{
	while (left) {
		size_t len = left < BATCH_BYTES ? left : BATCH_BYTES;
		int r = conn_read(t->conn, t->bytes, len, err), rc;

		if (r <= 0)
			return r < 0 ? r : broken(t, err);
		left -= len;
		if (err_is_set(t->why))
			continue;
		rc = io_write_all(t->fd, t->bytes, len);
		if (rc < 0)
			cannot_write(t, -rc, t->why);
		t->size += len;
		t->taken->bytes += len;
	}
	return 0;
}

/* A file is begun outside of one, everything else belongs into one. */
static bool frame_fits(const struct taking *t, uint32_t kind, uint64_t number)
{
	switch (kind) {
	case FRAME_FILE:
		return t->fd < 0 && number && number <= UINT32_MAX;
	case FRAME_DATA:
		return t->fd >= 0 && number && number <= FRAME_DATA_MAX;
	case FRAME_HOLE:
		return t->fd >= 0 && number;
	case FRAME_END:
		return t->fd >= 0;
	default:
		return t->fd < 0 && kind == FRAME_CLOSE;
	}
}

static int take_frame(struct taking *t, uint32_t kind, uint64_t number, struct err *err)
{
	if (!err_is_set(t->why) && !frame_fits(t, kind, number))
		(void)!nonsense(t, kind, number, t->why);
	if (kind == FRAME_DATA)
		return number <= FRAME_DATA_MAX ? add_data(t, number, err)
						: nonsense(t, kind, number, err);
	if (err_is_set(t->why))
		return 0;
	if (kind == FRAME_FILE)
		(void)!begin_file(t, number, t->why);
	else if (kind == FRAME_HOLE)
		(void)!add_hole(t, number, t->why);
	else if (kind == FRAME_END)
		(void)!end_file(t, t->why);
	return 0;
}

int server_answer_files(struct conn *c, const struct err *why, struct err *err)
{
	char text[FRAME_TEXT_MAX];
	uint32_t head[2] = { 0, 0 };

	if (err_is_set(why)) {
		err_text(why, text, sizeof(text));
		head[0] = htole32((uint32_t)(why->number ? why->number : EIO));
		head[1] = htole32((uint32_t)strlen(text));
	}
	return conn_write2(c, head, sizeof(head), text, le32toh(head[1]), err);
}

static void tell(struct taking *t, const struct err *why)
{
	struct err ignored = ERR_INIT;

	if (!t->told)
		(void)!server_answer_files(t->conn, why, &ignored);
	t->told = true;
}

int server_take_files(struct conn *c, const struct page_server_setup *setup, struct image_set *set,
	struct files_taken *ret, struct err *why, struct err *err)
{
	auto_free uint8_t *bytes = malloc(BATCH_BYTES);
	struct taking t = {
		.conn = c, .set = set, .fd = -1, .bytes = bytes, .taken = ret, .why = why
	};
	uint64_t number;
	uint32_t kind = 0;
	int r = bytes ? 0 : err_nomem(err);

	while (r == 0 && kind != FRAME_CLOSE) {
		bool first = !kind;

		r = frame_read(c, &kind, &number, err);
		if (r > 0 && first && kind == FRAME_JOIN)
			return server_take_crowd(c, setup, set, number, ret, why, err);
		r = r > 0 ? take_frame(&t, kind, number, err) : r < 0 ? r : broken(&t, err);
		if (r < 0 || err_is_set(why))
			tell(&t, r < 0 ? err : why);
	}
	if (t.fd >= 0)
		close(t.fd);
	/* the pages are safe before the answer says so */
	if (r == 0 && !err_is_set(why) && syncfs(image_set_dirfd(set)) < 0)
		err_sys(why, "cannot write the pages to the disk");
	return r < 0 || t.told ? r : server_answer_files(c, why, err);
}
