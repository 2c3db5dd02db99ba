// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One stream back into files. It may come from anybody: names must be those of images, numbers must
 * be the next ones, and without the frame that ends the set it is not one.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/vec.h"
#include "image/image.h"
#include "image/stream.h"
#include "image/stream_form.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

enum { COPY = 256 * 1024, END_MS = 10000 };

struct taking {
	int in, dirfd;
	struct vec_of(int) files; /* descriptor by number - 1; -1: complete */
	size_t open;
	uint8_t *buf;
	bool no_splice;
};

static int read_failed(int r, struct err *err)
{
	return r == -EIO ? err_image(err, "the stream of images ended before the set was complete") :
			   err_sysn(err, -r, "cannot read the stream of images");
}

static int take_name(struct taking *t, uint32_t length, struct err *err)
{
	char name[STREAM_NAME_MOST + 1] = "";
	struct image_found found;
	uint32_t number;
	int fd, r;

	if (length <= sizeof(number) || length > sizeof(number) + STREAM_NAME_MOST)
		return err_image(err, "the stream of images has a name of %u bytes", length);
	r = io_read_all(t->in, &number, sizeof(number));
	if (r == 0)
		r = io_read_all(t->in, name, length - sizeof(number));
	if (r < 0)
		return read_failed(r, err);
	if (number != t->files.n + 1 || number > STREAM_FILES_MOST)
		return err_image(err, "the stream of images has file %u after %zu", number, t->files.n);
	if (!image_name_parse(name, &found))
		return err_image(err, "the stream of images has a file that is no image");
	fd = openat(t->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ?
			err_image(err, "the stream of images has '%s' twice", name) :
			err_sys(err, "cannot keep image '%s' in memory", name);
	vec_push(&t->files, fd);
	t->open++;
	return 0;
}

/* splice(2) from a pipe or socket, read(2) from anything else. */
static int copy(struct taking *t, int to, uint32_t length, struct err *err)
{
	while (length) {
		ssize_t n = -1;
		int r = 0;

		if (!t->no_splice)
			n = splice(t->in, NULL, to, NULL, length, SPLICE_F_MOVE);
		if (n < 0 && (t->no_splice || errno == EINVAL)) {
			t->no_splice = true;
			n = read(t->in, t->buf, length < COPY ? length : COPY);
			if (n > 0)
				r = io_write_all(to, t->buf, (size_t)n);
		}
		if (r < 0)
			return err_sysn(err, -r, "cannot keep images in memory");
		if (n == 0 || (n < 0 && errno != EINTR))
			return read_failed(n ? -errno : -EIO, err);
		length -= n > 0 ? (uint32_t)n : 0;
	}
	return 0;
}

static int take_content(struct taking *t, const struct stream_frame *f, struct err *err)
{
	int *fd = f->number <= t->files.n ? &t->files.at[f->number - 1] : NULL;

	if (!fd || *fd < 0)
		return err_image(err, "the stream of images has content for file %u, which is not open",
			f->number);
	if (f->length)
		return copy(t, *fd, f->length, err);
	close(take_fd(fd));
	t->open--;
	return 0;
}

/* 1: the set is complete. */
static int take_frame(struct taking *t, struct err *err)
{
	struct stream_frame f;
	int r = io_read_all(t->in, &f, sizeof(f));

	if (r < 0)
		return read_failed(r, err);
	if (f.number)
		return take_content(t, &f, err);
	if (f.length)
		return take_name(t, f.length, err);
	return t->open ? err_image(err, "the stream of images ended with %zu files open", t->open) : 1;
}

/*
 * A dump on the same computer ends its tasks when the set is complete, and closes the stream after
 * that: then their pids are free. Who keeps it open for other reasons is not waited for for ever.
 */
static int await_end(int in, struct err *err)
{
	struct pollfd p = { .fd = in, .events = POLLIN };
	char byte;

	while (poll(&p, 1, END_MS) < 0 && errno == EINTR)
		;
	if (p.revents & POLLIN && read(in, &byte, 1) > 0)
		return err_image(err, "the stream of images has something behind its end");
	return 0;
}

int image_stream_take(int in, int dirfd, struct err *err)
{
	struct taking t = { .in = in, .dirfd = dirfd, .buf = malloc(COPY) };
	char magic[sizeof(STREAM_MAGIC) - 1];
	int r = t.buf ? io_read_all(in, magic, sizeof(magic)) : -ENOMEM;

	if (r < 0)
		r = read_failed(r, err);
	else if (memcmp(magic, STREAM_MAGIC, sizeof(magic)) != 0)
		r = err_image(err, "what comes from the descriptor is no stream of images");
	while (r == 0)
		r = take_frame(&t, err);
	if (r > 0)
		r = await_end(in, err);
	vec_each(fd, &t.files)
		if (*fd >= 0)
			close(*fd);
	vec_done(&t.files);
	free(t.buf);
	return r < 0 ? r : 0;
}
