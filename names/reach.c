/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See names/reach.h. A ghost is made when the first entry asks for it and held by an O_PATH
 * descriptor; every description of it is opened through that one's /proc/self/fd link.
 */
#include "names/reach.h"
#include "base/cleanup.h"
#include "base/far.h"
#include "base/vec.h"
#include "names/buildid.h"
#include "names/deadproc.h"
#include "names/ghost.h"
#include "names/hidden.h"
#include "names/linkremap.h"
#include "names/remap.h"
#include "options/outside.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct held {
	uint32_t id;
	int fd;
};

struct reach {
	struct world *world;
	struct image_set *images;
	const struct options *options;
	struct table remaps; /* file id -> RemapFilePathEntry */
	struct table ghosts; /* 1 + ghost id -> 1 + index in held */
	struct table inodes; /* which a ghost was at the dump -> 1 + index in held */
	struct vec_of(struct held) held;
};

struct reach *reach_new(struct world *w, struct image_set *images, const struct options *o)
{
	struct reach *r = calloc(1, sizeof(*r));
	struct entry_list *l = &w->entries[IMG_REMAP_FPATH];

	if (!r)
		abort();
	*r = (struct reach){ .world = w, .images = images, .options = o };
	for (size_t i = 0; i < l->n; i++) {
		RemapFilePathEntry *e = l->at[i]->msg;

		table_put(&r->remaps, e->orig_id, e);
	}
	return r;
}

void reach_complete(struct reach *r)
{
	struct entry_list *l = &r->world->entries[IMG_REMAP_FPATH];
	struct table done = { 0 };

	for (size_t i = 0; i < l->n; i++) {
		const RemapFilePathEntry *e = l->at[i]->msg;
		const FileEntry *link = world_file(r->world, e->remap_id);
		const FileEntry *was = world_file(r->world, e->orig_id);

		if (remap_type(e) != REMAP_TYPE__LINKED || !link || !link->reg || !was || !was->reg ||
			table_get(&done, e->remap_id))
			continue;
		table_put(&done, e->remap_id, r);
		linkremap_take_back(r->images, link->reg->name, was->reg->name);
	}
	table_done(&done);
}

void reach_free(struct reach *r)
{
	if (!r)
		return;
	vec_each(h, &r->held)
		close(h->fd);
	vec_done(&r->held);
	table_done(&r->remaps);
	table_done(&r->ghosts);
	table_done(&r->inodes);
	free(r);
}

static int ghost_fd(struct reach *r, uint32_t id, const char *path, int *ret_fd, struct err *err)
{
	uint64_t key = (uint64_t)id + 1;
	uintptr_t at = (uintptr_t)table_get(&r->ghosts, key);
	struct held h = { .id = id, .fd = -1 };
	const GhostFileEntry *g;
	int e;

	if (!at) {
		e = ghost_make(r->images, r->world->arena, id, path, &g, &h.fd, err);
		if (e < 0)
			return e;
		vec_push(&r->held, h);
		at = r->held.n;
		table_put(&r->ghosts, key, (void *)at);
		if (g->has_dev && g->has_ino)
			table_put(&r->inodes, table_key(g->dev, g->ino), (void *)at);
	}
	*ret_fd = r->held.at[at - 1].fd;
	return 0;
}

int reach_ghost_of(const struct reach *r, uint32_t dev, uint64_t ino)
{
	uintptr_t at = (uintptr_t)table_get(&r->inodes, table_key(dev, ino));

	return at ? r->held.at[at - 1].fd : -1;
}

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "regular file";
	case S_IFDIR:
		return "directory";
	case S_IFCHR:
		return "character device";
	case S_IFBLK:
		return "block device";
	case S_IFIFO:
		return "fifo";
	case S_IFLNK:
		return "symbolic link";
	case S_IFSOCK:
		return "socket";
	default:
		return "file of unknown type";
	}
}

/* What a ghost has become must be of the type that was open. */
static int check_ghost(const RegFileEntry *reg, int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at the deleted file '%s'", reg->name);
	if (reg->has_mode && (st.st_mode & S_IFMT) != (reg->mode & S_IFMT))
		return err_image(err, "the deleted file '%s' was a %s, but its image is that of a %s",
			reg->name, type_name(reg->mode), type_name(st.st_mode));
	return 0;
}

static int verify(const struct reach *r, const RegFileEntry *reg, int fd, struct err *err);

/* What an O_PATH descriptor holds. */
static int open_held(int fd, const RegFileEntry *reg, int flags, int *ret_fd, struct err *err)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	/* The link must be followed to the file itself; a symbolic link is a file only for O_PATH. */
	if ((flags & O_PATH) && (flags & O_NOFOLLOW))
		*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	else
		*ret_fd = open(self, flags & ~O_NOFOLLOW);
	if (*ret_fd < 0)
		return err_sys(err, "cannot open the deleted file '%s'", reg->name);
	return 0;
}

/* By the name that the dump has made. */
static int open_linked(struct reach *r, const RegFileEntry *reg, const RemapFilePathEntry *e,
	int flags, int *ret_fd, struct err *err)
{
	const FileEntry *link = world_file(r->world, e->remap_id);
	auto_close int fd = -1;
	int res;

	if (!link || !link->reg)
		return err_image(err, "'%s' is reached by file entry %u, which is not there", reg->name,
			e->remap_id);
	fd = open(link->reg->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "cannot open '%s', which stands for '%s' (--link-remap; a restore "
			"takes it away)", link->reg->name, reg->name);
	res = verify(r, reg, fd, err);
	return res < 0 ? res : open_held(fd, reg, flags, ret_fd, err);
}

static int open_remapped(struct reach *r, const RegFileEntry *reg, const RemapFilePathEntry *e,
	int flags, int *ret_fd, struct err *err)
{
	int fd, res;

	if (remap_type(e) == REMAP_TYPE__PROCFS)
		return deadproc_open((pid_t)(e->remap_id & INT32_MAX), reg->name, flags, ret_fd, err);
	if (remap_type(e) == REMAP_TYPE__LINKED)
		return open_linked(r, reg, e, flags, ret_fd, err);
	res = ghost_fd(r, e->has_remap_type ? e->remap_id : e->remap_id & 0x7fffffff, reg->name, &fd,
		err);
	if (res == 0)
		res = check_ghost(reg, fd, err);
	if (res < 0)
		return res;
	return open_held(fd, reg, flags, ret_fd, err);
}

static void pack_build_id(const uint8_t *id, size_t len, uint32_t *words)
{
	memset(words, 0, (len + 3) / 4 * 4);
	memcpy(words, id, len);
}

/* Reads the build id behind fd, by another descriptor where this one cannot read. */
static size_t build_id_of(int fd, uint8_t id[BUILDID_MAX])
{
	int flags = fcntl(fd, F_GETFL);
	auto_far int again = -1;
	char self[64];

	if (flags >= 0 && !(flags & O_PATH) && (flags & O_ACCMODE) != O_WRONLY &&
		!(flags & O_DIRECT))
		return buildid_read(fd, id);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	again = far_open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	return again < 0 ? 0 : buildid_read(again, id);
}

static int check_build_id(const RegFileEntry *reg, int fd, struct err *err)
{
	uint32_t words[BUILDID_MAX / 4] = { 0 };
	uint8_t id[BUILDID_MAX];
	size_t len = build_id_of(fd, id);

	if (!len)
		return err_target(err, EINVAL, "file '%s' has no build id now, but had one at the dump",
			reg->name);
	pack_build_id(id, len, words);
	if (reg->n_build_id != (len + 3) / 4 || memcmp(words, reg->build_id, reg->n_build_id * 4))
		return err_target(err, EINVAL, "file '%s' is another build than at the dump "
			"(its build id differs)", reg->name);
	return 0;
}

static uint64_t mtime_of(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000 + (uint64_t)st->st_mtim.tv_nsec;
}

static int verify(const struct reach *r, const RegFileEntry *reg, int fd, struct err *err)
{
	const TorporFileEntry *x = world_extra(r->world, reg->id);
	struct stat st;
	mode_t was = reg->mode;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "cannot look at '%s'", reg->name);
	if (reg->has_mode && (st.st_mode & S_IFMT) != (was & S_IFMT))
		return err_target(err, EINVAL, "'%s' is a %s now, a %s at the dump", reg->name,
			type_name(st.st_mode), type_name(was));
	if (reg->has_mode && (st.st_mode & 07777) != (was & 07777) &&
		!r->options->skip_file_rwx_check)
		return err_target(err, EINVAL, "file '%s' has mode %04o now, %04o at the dump; "
			"--skip-file-rwx-check accepts that", reg->name,
			(unsigned)(st.st_mode & 07777), (unsigned)(was & 07777));
	if (reg->has_size && S_ISREG(st.st_mode) && (uint64_t)st.st_size != reg->size)
		return err_target(err, EINVAL, "file '%s' has %lld bytes now, %llu at the dump",
			reg->name, (long long)st.st_size, (unsigned long long)reg->size);
	if (x && x->has_mtime_ns && S_ISREG(st.st_mode) && mtime_of(&st) != x->mtime_ns)
		return err_target(err, EINVAL, "file '%s' was changed since the dump (its time of "
			"modification differs)", reg->name);
	if (reg->n_build_id && S_ISREG(st.st_mode) && strcmp(r->options->file_validation, "filesize"))
		return check_build_id(reg, fd, err);
	return 0;
}

static int inherited(const struct reach *r, const RegFileEntry *reg)
{
	return outside_inherited(r->options, reg->name);
}

bool reach_is_given(const struct reach *r, const RegFileEntry *reg)
{
	return (reg->has_ext && reg->ext) || inherited(r, reg) >= 0;
}

static int open_given(struct reach *r, const RegFileEntry *reg, int *ret_fd, struct err *err)
{
	int fd = inherited(r, reg);

	if (fd < 0)
		return err_usage(err, "'%s' was external; restoring it needs --inherit-fd fd[N]:%s",
			reg->name, reg->name);
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? err_sys(err, "cannot use descriptor %d for '%s'", fd, reg->name) : 0;
}

/* Where a mount hides it, through a copy of the mount that it lies on. */
static int open_by_name(struct reach *r, const RegFileEntry *reg, int flags)
{
	const TorporFileEntry *x = world_extra(r->world, reg->id);
	int fd;

	if (x && x->mount_point)
		return hidden_open(x->mount_point, reg->name, flags);
	fd = open(reg->name, flags);
	return fd < 0 ? -errno : fd;
}

int reach_open(struct reach *r, const RegFileEntry *reg, int flags, int *ret_fd, struct err *err)
{
	/* The bit which O_TMPFILE has more than O_DIRECTORY. */
	int drop = O_CREAT | O_EXCL | O_TRUNC | O_ASYNC | (O_TMPFILE & ~O_DIRECTORY);
	RemapFilePathEntry *remap = table_get(&r->remaps, reg->id);
	auto_close int fd = -1;
	int e;

	flags = (flags & ~drop) | O_CLOEXEC | O_NOCTTY;
	if (reg->has_mode && S_ISLNK(reg->mode) && (flags & O_PATH))
		flags |= O_NOFOLLOW;
	if (reach_is_given(r, reg))
		return open_given(r, reg, ret_fd, err);
	if (remap)
		return open_remapped(r, reg, remap, flags, ret_fd, err);
	if (reg->name[0] != '/')
		return err_image(err, "file entry %u has the name '%s', which is no absolute path",
			reg->id, reg->name);
	fd = open_by_name(r, reg, flags);
	if (fd < 0)
		return err_sysn(err, -fd, "cannot open '%s'", reg->name);
	e = verify(r, reg, fd, err);
	if (e < 0)
		return e;
	*ret_fd = take_fd(&fd);
	return 0;
}

void reach_describe(struct world *w, int fd, const struct stat *st, const struct options *o,
	RegFileEntry *reg)
{
	TorporFileEntry *x;
	uint8_t id[BUILDID_MAX];
	size_t len = 0;

	reg->has_mode = true;
	reg->mode = st->st_mode;
	if (!S_ISREG(st->st_mode))
		return;
	if ((reg->flags & (O_WRONLY | O_APPEND)) != (O_WRONLY | O_APPEND)) {
		reg->has_size = true;
		reg->size = (uint64_t)st->st_size;
	}
	if (!strcmp(o->file_validation, "mtime")) {
		x = world_want_extra(w, reg->id);
		x->has_mtime_ns = true;
		x->mtime_ns = mtime_of(st);
	}
	if (st->st_size > 64 && !strcmp(o->file_validation, "buildid"))
		len = build_id_of(fd, id);
	if (len) {
		reg->n_build_id = (len + 3) / 4;
		reg->build_id = arena_array(w->arena, reg->n_build_id, sizeof(*reg->build_id));
		pack_build_id(id, len, reg->build_id);
	}
}
