/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restore side of ghosts (names/ghost.h). The name exists only from the making call to the
 * unlink right behind it, so nothing is left wherever a restore ends. The link text of the
 * descriptors then reads as it did: the old name and " (deleted)".
 */
#include "names/ghost.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "names/ghost_coded.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { COPY = 256 * 1024 };

/* Content: one piece, or chunks up to the end of the image. */
static int fill_piece(struct image_reader *r, int fd, uint64_t at, uint64_t len, struct err *err)
{
	auto_free char *buf = malloc(COPY);

	if (!buf)
		return err_nomem(err);
	while (len) {
		size_t n = len < COPY ? (size_t)len : COPY;
		int e = image_payload(r, buf, n, err);

		if (e < 0)
			return e;
		e = io_pwrite_all(fd, buf, n, (off_t)at);
		if (e < 0)
			return err_sysn(err, -e, "cannot write a deleted file of '%s'",
				image_reader_name(r));
		at += n;
		len -= n;
	}
	return 0;
}

static int fill_chunks(struct image_set *images, uint32_t id, struct image_reader *r,
	const GhostFileEntry *g, int fd, struct err *err)
{
	bool coded = image_set_codec(images);
	struct arena *scratch = arena_new();
	uint32_t serial = 0;
	int e = 0;

	if (!g->has_size || g->size > INT64_MAX)
		e = err_image(err, "'%s' has chunks but no sane size", image_reader_name(r));
	while (e == 0 && image_left(r)) {
		GhostChunkEntry *c;

		e = image_next_as(r, &ghost_chunk_entry__descriptor, scratch, &c, err);
		if (e <= 0)
			break;
		if (c->off > g->size || c->len > g->size - c->off ||
			(!coded && c->len > image_left(r)))
			e = err_image(err, "'%s' has a chunk beyond its end", image_reader_name(r));
		else if (coded)
			e = ghost_get_coded(images, r, id, c, serial++, fd, err);
		else
			e = fill_piece(r, fd, c->off, c->len, err);
	}
	if (e == 0 && ftruncate(fd, (off_t)g->size) < 0)
		e = err_sys(err, "cannot set the size of the deleted file of '%s'",
			image_reader_name(r));
	arena_free(scratch);
	return e;
}

static int make_node(const GhostFileEntry *g, const char *path)
{
	mode_t type = g->mode & S_IFMT;

	if (type == S_IFDIR)
		return mkdir(path, 0700);
	if (type == S_IFLNK)
		return symlink(g->symlnk_target ? g->symlnk_target : "", path);
	return mknod(path, type | 0600, type == S_IFCHR || type == S_IFBLK ? g->rdev : 0);
}

/* Makes the node, opens it and takes the name away. */
static int make_at(const GhostFileEntry *g, const char *path)
{
	int fd = -1, saved;
	bool is_dir = S_ISDIR(g->mode);

	if (S_ISREG(g->mode))
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	else if (make_node(g, path) == 0)
		fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	else
		return -errno;
	saved = errno;
	if ((fd >= 0 || !S_ISREG(g->mode)) && (is_dir ? rmdir(path) : unlink(path)) < 0 && fd >= 0) {
		saved = errno;
		close(fd);
		fd = -1;
	}
	return fd >= 0 ? fd : -saved;
}

/* Files made by O_TMPFILE are called "#INODE"; only such ones can be given a name later. */
static int make_tmpfile(const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t n;
	int fd;

	if (!slash || slash[1] != '#' || slash[2 + strspn(slash + 2, "0123456789")])
		return -ENOENT;
	n = slash == path ? 1 : (size_t)(slash - path);
	if (n >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, n);
	dir[n] = '\0';
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

/* The old name; beside it where that is taken; where its folder is gone too, elsewhere. */
static int make_somewhere(struct image_set *images, const GhostFileEntry *g, uint32_t id,
	const char *path, struct err *err)
{
	char name[PATH_MAX];
	int fd = -ENOENT;

	if (S_ISREG(g->mode))
		fd = make_tmpfile(path);
	if (fd < 0 && path[0] == '/')
		fd = make_at(g, path);
	if (fd == -EEXIST && snprintf(name, sizeof(name), "%s.torpor-%x", path, id) < PATH_MAX)
		fd = make_at(g, name);
	if (fd < 0) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d/.torpor-ghost-%x",
			image_set_dirfd(images), id);
		fd = make_at(g, name);
	}
	if (fd < 0) {
		snprintf(name, sizeof(name), "/tmp/.torpor-ghost-%d-%x", getpid(), id);
		fd = make_at(g, name);
	}
	if (fd < 0)
		return err_sysn(err, -fd, "cannot make the deleted file '%s' again", path);
	return fd;
}

static int set_traits(const GhostFileEntry *g, int fd, const char *path, struct err *err)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	char self[64];

	if (fchownat(fd, "", g->uid, g->gid, AT_EMPTY_PATH) < 0)
		return err_sys(err, "cannot give the deleted file '%s' to uid %u, gid %u", path, g->uid,
			g->gid);
	if (S_ISLNK(g->mode))
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (chmod(self, g->mode & 07777) < 0)
		return err_sys(err, "cannot set the mode of the deleted file '%s'", path);
	if (g->atim)
		ts[0] = (struct timespec){ (time_t)g->atim->tv_sec, (long)g->atim->tv_usec * 1000 };
	if (g->mtim)
		ts[1] = (struct timespec){ (time_t)g->mtim->tv_sec, (long)g->mtim->tv_usec * 1000 };
	/* Only a convenience: a file system without times is not a reason to fail. */
	(void)!utimensat(AT_FDCWD, self, ts, 0);
	return 0;
}

static int make_from(struct image_set *images, struct image_reader *r, struct arena *arena,
	uint32_t id, const char *path, const GhostFileEntry **ret_entry, int *ret_fd, struct err *err)
{
	GhostFileEntry *g;
	auto_close int fd = -1;
	char self[64];
	int e = image_next(r, arena, &g, err);

	if (e == 0)
		return err_image(err, "'%s' is empty", image_reader_name(r));
	if (e < 0)
		return e;
	*ret_entry = g;
	fd = make_somewhere(images, g, id, path, err);
	if (fd < 0)
		return fd;
	if (S_ISREG(g->mode) && !g->chunks && image_set_codec(images))
		return err_image(err, "'%s' did not go through the page filters of its set",
			image_reader_name(r));
	if (S_ISREG(g->mode))
		e = g->chunks ? fill_chunks(images, id, r, g, fd, err) :
			       fill_piece(r, fd, 0, image_left(r), err);
	if (e < 0)
		return e;
	e = set_traits(g, fd, path, err);
	if (e < 0)
		return e;
	if (!S_ISREG(g->mode)) {
		*ret_fd = take_fd(&fd);
		return 0;
	}
	/* O_PATH: an open writer would forbid to execute the file. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	e = open(self, O_PATH | O_CLOEXEC);
	if (e < 0)
		return err_sys(err, "cannot open the deleted file '%s'", path);
	*ret_fd = e;
	return 0;
}

int ghost_make(struct image_set *images, struct arena *arena, uint32_t id, const char *path,
	const GhostFileEntry **ret_entry, int *ret_fd, struct err *err)
{
	struct image_reader *r = NULL;
	int e = image_open(images, IMG_GHOST_FILE, id, &r, err);

	if (e < 0)
		return e;
	if (!r)
		return err_image(err, "there is no image of the deleted file '%s' (ghost-file-%x.img)",
			path, id);
	e = make_from(images, r, arena, id, path, ret_entry, ret_fd, err);
	image_reader_close(r);
	return e;
}
