/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dump side of ghosts (names/ghost.h). Content is read through an open file of our own, because a
 * duplicate of the target's would move the target's offset.
 *
 * Files from CHUNKED_FROM bytes on are stored as chunks, so that holes stay holes; smaller ones as
 * one piece.
 */
#include "names/ghost.h"
#include "base/cleanup.h"
#include "base/far.h"
#include "base/io.h"
#include "names/ghost_coded.h"
#include "names/remap.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { CHUNKED_FROM = 3 * 4096, COPY = 256 * 1024, LINK_MAX_LEN = 4096 };

struct ghost_known {
	dev_t dev;
	ino_t ino;
	uint32_t id;
};

static Timeval *time_of(struct arena *arena, const struct timespec *ts)
{
	Timeval *t = arena_msg(arena, Timeval, timeval);

	t->tv_sec = (uint64_t)ts->tv_sec;
	t->tv_usec = (uint64_t)ts->tv_nsec / 1000;
	return t;
}

static GhostFileEntry *entry_of(const struct ghost_ask *a)
{
	struct arena *arena = a->world->arena;
	const struct stat *st = a->st;
	GhostFileEntry *g = arena_msg(arena, GhostFileEntry, ghost_file_entry);

	g->uid = st->st_uid;
	g->gid = st->st_gid;
	g->mode = st->st_mode;
	g->has_dev = g->has_ino = true;
	g->dev = (uint32_t)(major(st->st_dev) << 20 | minor(st->st_dev));
	g->ino = st->st_ino;
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		g->has_rdev = true;
		g->rdev = (uint32_t)st->st_rdev;
	}
	g->atim = time_of(arena, &st->st_atim);
	g->mtim = time_of(arena, &st->st_mtim);
	if (S_ISREG(st->st_mode) && (st->st_size >= CHUNKED_FROM || image_set_codec(a->images))) {
		g->has_chunks = g->has_size = true;
		g->chunks = true;
		g->size = (uint64_t)st->st_size;
	}
	return g;
}

static int copy_range(struct image_writer *w, int fd, off_t at, off_t end, const char *who,
	struct err *err)
{
	auto_free char *buf = malloc(COPY);

	if (!buf)
		return err_nomem(err);
	while (at < end) {
		size_t want = end - at < COPY ? (size_t)(end - at) : COPY;
		ssize_t n = far_pread(fd, buf, want, at);
		int r;

		if (n < 0)
			return err_sys(err, "%s: cannot read its deleted file", who);
		if (n == 0) /* it shrank under our hands: the tree is stopped, someone else did */
			return err_target(err, EAGAIN, "%s: its deleted file changed meanwhile", who);
		r = image_put_payload(w, buf, (size_t)n, err);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

static int copy_chunk(struct image_writer *w, int fd, off_t data, off_t hole, const char *who,
	struct err *err)
{
	GhostChunkEntry chunk = GHOST_CHUNK_ENTRY__INIT;
	int r;

	chunk.off = (uint64_t)data;
	chunk.len = (uint64_t)(hole - data);
	r = image_put(w, &chunk, err);
	return r < 0 ? r : copy_range(w, fd, data, hole, who, err);
}

static int copy_chunks(const struct ghost_ask *a, uint32_t id, struct image_writer *w, int fd,
	struct err *err)
{
	off_t at = 0, size = a->st->st_size;
	uint32_t serial = 0;

	while (at < size) {
		off_t data = far_lseek(fd, at, SEEK_DATA), hole;
		int r;

		if (data < 0 && errno == ENXIO)
			break; /* only a hole is left */
		if (data < 0)
			data = at; /* no such question to this file system */
		hole = far_lseek(fd, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		if (data >= hole)
			break;
		if (image_set_codec(a->images))
			r = ghost_put_coded(a->images, w, id, fd, (uint64_t)data, (uint64_t)hole,
				&serial, a->who, err);
		else
			r = copy_chunk(w, fd, data, hole, a->who, err);
		if (r < 0)
			return r;
		at = hole;
	}
	return 0;
}

static int put_content(const struct ghost_ask *a, const GhostFileEntry *g, uint32_t id,
	struct image_writer *w, struct err *err)
{
	char self[64];
	auto_far int fd = -1;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", a->dup);
	fd = far_open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOATIME);
	if (fd < 0)
		fd = far_open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_sys(err, "%s: cannot open its deleted file '%s'", a->who, a->path);
	if (g->chunks)
		return copy_chunks(a, id, w, fd, err);
	return copy_range(w, fd, 0, a->st->st_size, a->who, err);
}

static int read_target(const struct ghost_ask *a, GhostFileEntry *g, struct err *err)
{
	char buf[LINK_MAX_LEN];
	ssize_t n = readlinkat(a->dup, "", buf, sizeof(buf) - 1);

	if (n < 0)
		return err_sys(err, "%s: cannot read its deleted symbolic link '%s'", a->who, a->path);
	buf[n] = '\0';
	g->symlnk_target = arena_strdup(a->world->arena, buf);
	return 0;
}

static int check_ask(const struct ghost_ask *a, struct err *err)
{
	const struct stat *st = a->st;
	uint64_t size = (uint64_t)st->st_blocks * 512;

	if (S_ISSOCK(st->st_mode))
		return err_unsupported(err, "%s is the deleted socket file '%s', which this version "
			"cannot save", a->who, a->path);
	if (S_ISREG(st->st_mode) && size > a->options->ghost_limit)
		return err_unsupported(err, "%s is the deleted file '%s' of %llu bytes, more than "
			"--ghost-limit allows (%llu bytes)", a->who, a->path,
			(unsigned long long)size, (unsigned long long)a->options->ghost_limit);
	return 0;
}

static int ghost_write(const struct ghost_ask *a, uint32_t id, struct err *err)
{
	GhostFileEntry *g = entry_of(a);
	struct image_writer *w = NULL;
	int r = 0, end;

	if (S_ISLNK(a->st->st_mode))
		r = read_target(a, g, err);
	if (r == 0)
		r = image_create(a->images, IMG_GHOST_FILE, id, &w, err);
	if (r < 0)
		return r;
	r = image_put(w, g, err);
	if (r == 0 && S_ISREG(a->st->st_mode))
		r = put_content(a, g, id, w, err);
	end = image_finish(w, err);
	if (r < 0 || end < 0)
		return r < 0 ? r : end;
	world_add(a->world, IMG_GHOST_FILE, id, g)->streamed = true;
	return 0;
}

int ghost_save(const struct ghost_ask *a, uint32_t orig_id, struct err *err)
{
	uint64_t key = table_key(a->st->st_dev, a->st->st_ino);
	struct ghost_known *k = table_get(a->seen, key);
	int r;

	if (k && (k->dev != a->st->st_dev || k->ino != a->st->st_ino))
		return err_bug(err, "%s: two deleted files have the same key", a->who);
	if (!k) {
		r = check_ask(a, err);
		if (r < 0)
			return r;
		k = arena_new_of(a->world->arena, struct ghost_known);
		k->dev = a->st->st_dev;
		k->ino = a->st->st_ino;
		k->id = (uint32_t)a->world->entries[IMG_GHOST_FILE].n + 1;
		r = ghost_write(a, k->id, err);
		if (r < 0)
			return r;
		table_put(a->seen, key, k);
	}
	remap_add(a->world, orig_id, REMAP_TYPE__GHOST, k->id);
	return 0;
}
