/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is opened by name and keeps no more state than flags and an offset: regular files, folders,
 * block devices, character devices without memory of their own, and anything by O_PATH.
 */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include "names/reach.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { MQUEUE_FS = 0x19800202, SECRETMEM_FS = 0x5345434d };

/* Character devices that remember nothing about who opened them (devices.txt). */
static bool is_plain_device(dev_t rdev, int flags)
{
	static const unsigned char mem[] = { 1, 3, 4, 5, 7, 8, 9 };
	unsigned maj = major(rdev), min = minor(rdev);

	if (maj == 10)
		return min == 183; /* hwrng */
	if (maj != 1)
		return false;
	for (size_t i = 0; i < sizeof(mem); i++)
		if (mem[i] == min)
			return true;
	return min == 11 && (flags & O_ACCMODE) == O_WRONLY; /* kmsg: readers have a place in the log */
}

static bool reg_match(const struct fd_look *l)
{
	if (l->link[0] != '/')
		return false;
	if (l->flags & O_PATH)
		return true;
	switch (l->st.st_mode & S_IFMT) {
	case S_IFREG:
		return l->fs_type != MQUEUE_FS && l->fs_type != SECRETMEM_FS;
	case S_IFDIR:
	case S_IFBLK:
		return true;
	case S_IFCHR:
		return is_plain_device(l->st.st_rdev, l->flags);
	default:
		return false;
	}
}

static int reg_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	struct fdinfo info = { 0 };
	int r = name_collect(l, fe->id, flags_collect(l), &fe->reg, err);

	if (r == 0 && fdinfo_parse(l->fdinfo, &info))
		fe->reg->pos = info.pos;
	return r;
}

static void reg_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	if (fe->reg->name[0] != '/' && !(fe->reg->has_ext && fe->reg->ext))
		finding_add(f, "file-name", SEV_ERROR, 0, "file %u: '%.100s' is no absolute path",
			fe->id, fe->reg->name);
}

/* Opening a fifo by its name waits for somebody at its other end; real ones are in fifo.c. */
static int refuse_fifo(const struct file_maker *m, const RegFileEntry *e, int flags, struct err *err)
{
	struct stat st;

	if (flags & O_PATH || reach_is_given(m->reach, e))
		return 0;
	if (e->has_mode && S_ISFIFO(e->mode))
		return err_image(err, "'%s' was a fifo at the dump, but is to be opened as a file", e->name);
	if (stat(e->name, &st) == 0 && S_ISFIFO(st.st_mode))
		return err_target(err, EINVAL, "'%s' is a fifo now, a file at the dump", e->name);
	return 0;
}

static int reg_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const RegFileEntry *e = fe->reg;
	auto_close int fd = -1;
	int r = refuse_fifo(m, e, (int)e->flags, err);

	if (r == 0)
		r = reach_open(m->reach, e, (int)e->flags, &fd, err);
	if (r < 0)
		return r;
	if (e->flags & O_PATH || reach_is_given(m->reach, e)) {
		*ret_fd = take_fd(&fd);
		return 0;
	}
	if (e->pos && e->pos != UINT64_MAX && lseek(fd, (off_t)e->pos, SEEK_SET) < 0 &&
		errno != ESPIPE)
		return err_sys(err, "cannot go to offset %llu of '%s'", (unsigned long long)e->pos,
			e->name);
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static int reg_open_map(struct file_maker *m, const FileEntry *fe, int flags, int *ret_fd,
	struct err *err)
{
	int r = refuse_fifo(m, fe->reg, flags, err);

	return r < 0 ? r : reach_open(m->reach, fe->reg, flags, ret_fd, err);
}

static void reg_describe(const FileEntry *fe, char *buf, size_t size)
{
	static const char *const mode[] = { "r", "w", "rw", "" };

	if (fe->reg->flags & O_PATH)
		snprintf(buf, size, "%s (path only)", fe->reg->name);
	else
		snprintf(buf, size, "%s %s%s @%llu", fe->reg->name, mode[fe->reg->flags & O_ACCMODE],
			fe->reg->flags & O_APPEND ? " append" : "",
			(unsigned long long)fe->reg->pos);
}

const struct file_kind file_kind_reg = {
	.name = "file",
	.type = FD_TYPES__REG,
	.match = reg_match,
	.collect = reg_collect,
	.check = reg_check,
	.create = reg_create,
	.open_map = reg_open_map,
	.describe = reg_describe,
};
