/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fanotify(7): marks of inodes (found as inotify's watches are), of mounts (by their path) and of
 * file systems. Images have two types of marks; one of a file system is a mount mark with
 * FAN_MARK_FILESYSTEM among its flags, which other readers refuse.
 */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include "names/handle.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/fanotify.h>

/* Flags of marks that last; the others say what a call does. */
static const uint32_t lasting = FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE | FAN_MARK_IGNORE;

static bool fanotify_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[fanotify]");
}

static int refuse(const struct fd_look *l, const char *what, struct err *err)
{
	char who[96];

	return err_unsupported(err, "%s is a fanotify descriptor with %s, which this version cannot "
		"save", file_look_who(l, who, sizeof(who)), what);
}

static int place_mark(const struct fd_look *l, const struct fdinfo_mark *m, FanotifyMarkEntry *e,
	struct err *err)
{
	const struct mount_line *mount;
	struct handle_space *space;
	int r = look_handles(l, &space, err);

	if (r < 0)
		return r;
	mount = m->kind == FDINFO_MARK_MOUNT ? handle_mount(space, m->mnt_id) :
					       handle_mount_of_dev(space, m->watch.sdev);
	if (!mount)
		return refuse(l, "a mark of a mount that is not there", err);
	e->type = MARK_TYPE__MOUNT;
	e->s_dev = mount->dev;
	if (m->kind == FDINFO_MARK_FS)
		e->mflags |= FAN_MARK_FILESYSTEM;
	e->me = arena_msg(l->world->arena, FanotifyMountMarkEntry, fanotify_mount_mark_entry);
	e->me->mnt_id = (uint32_t)mount->id;
	e->me->path = arena_strdup(l->world->arena, mount->point);
	return 0;
}

static int add_mark(const struct fd_look *l, const struct fdinfo_mark *m, FanotifyFileEntry *f,
	struct err *err)
{
	struct arena *arena = l->world->arena;
	FanotifyMarkEntry *e = arena_msg(arena, FanotifyMarkEntry, fanotify_mark_entry);
	int r;

	if (m->kind == FDINFO_MARK_OTHER || m->mflags & ~lasting)
		return refuse(l, "a mark of a kind it does not know", err);
	e->mflags = m->mflags;
	e->mask = m->watch.mask;
	e->ignored_mask = m->watch.ignored;
	if (m->kind != FDINFO_MARK_INODE) {
		r = place_mark(l, m, e, err);
	} else {
		e->type = MARK_TYPE__INODE;
		e->s_dev = m->watch.sdev;
		e->ie = arena_msg(arena, FanotifyInodeMarkEntry, fanotify_inode_mark_entry);
		e->ie->i_ino = m->watch.ino;
		r = watched_collect(l, &m->watch, "fanotify", &e->ie->f_handle, err);
	}
	if (r == 0)
		arena_push(arena, f->mark, f->n_mark, e);
	return r;
}

static int fanotify_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	FanotifyFileEntry *e = arena_msg(l->world->arena, FanotifyFileEntry, fanotify_file_entry);
	struct fdinfo_mark m;
	struct cursor c = cursor_of(l->fdinfo);
	int r = 0;

	if (!fdinfo_parse_fanotify(l->fdinfo, &e->faflags, &e->evflags))
		return refuse(l, "flags which the kernel does not tell", err);
	e->id = fe->id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	while (r == 0 && fdinfo_next_mark(&c, &m))
		r = add_mark(l, &m, e, err);
	if (r == 0)
		watched_report_queue(l, "fanotify");
	fe->ffy = e;
	return r;
}

static void fanotify_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	for (size_t i = 0; i < fe->ffy->n_mark; i++) {
		const FanotifyMarkEntry *e = fe->ffy->mark[i];
		uint32_t more = e->type == MARK_TYPE__MOUNT ? FAN_MARK_FILESYSTEM : 0;

		if (e->type == MARK_TYPE__INODE ? !e->ie : !e->me || !e->me->path)
			finding_add(f, "fanotify-mark", SEV_ERROR, 0,
				"fanotify (file %u): mark %zu does not say of what", fe->id, i);
		if (e->mflags & ~(lasting | more))
			finding_add(f, "fanotify-flags", SEV_ERROR, 0,
				"fanotify (file %u): mark %zu has the flags 0x%x", fe->id, i, e->mflags);
	}
}

static int fanotify_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const FanotifyFileEntry *e = fe->ffy;
	auto_close int fd = fanotify_init(e->faflags, e->evflags); /* FAN_CLOEXEC is shown for ever */
	int r;

	if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys(err, "cannot make a fanotify descriptor (flags 0x%x, 0x%x)", e->faflags,
			e->evflags);
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static int open_marked(struct file_maker *m, const FanotifyMarkEntry *e, int *ret_fd, struct err *err)
{
	if (e->type == MARK_TYPE__INODE)
		return watched_open(m, e->s_dev, e->ie->i_ino, e->ie->f_handle, ret_fd, err);
	*ret_fd = open(e->me->path, O_PATH | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(err, "cannot find the mount '%s', which is marked", e->me->path);
	return 0;
}

static int mark(struct file_maker *m, int fd, const FanotifyMarkEntry *e, struct err *err)
{
	uint32_t ignore = e->mflags & FAN_MARK_IGNORE ? FAN_MARK_IGNORE : FAN_MARK_IGNORED_MASK;
	uint32_t flags = FAN_MARK_ADD | (e->mflags & (FAN_MARK_EVICTABLE | FAN_MARK_FILESYSTEM));
	auto_close int file = -1;
	char self[64];
	int r = open_marked(m, e, &file, err);

	if (r < 0)
		return r;
	if (e->type == MARK_TYPE__MOUNT && !(flags & FAN_MARK_FILESYSTEM))
		flags |= FAN_MARK_MOUNT;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", file);
	if (e->mask && fanotify_mark(fd, flags, e->mask, AT_FDCWD, self) < 0)
		return err_sys(err, "cannot mark a file (fanotify, mask 0x%x)", e->mask);
	flags |= ignore | (e->mflags & FAN_MARK_IGNORED_SURV_MODIFY);
	if (e->ignored_mask && fanotify_mark(fd, flags, e->ignored_mask, AT_FDCWD, self) < 0)
		return err_sys(err, "cannot mark a file (fanotify, ignored mask 0x%x)", e->ignored_mask);
	return 0;
}

static int fanotify_arm(struct file_maker *m, const FileEntry *fe, int fd, struct err *err)
{
	int r = 0;

	for (size_t i = 0; fd >= 0 && i < fe->ffy->n_mark && r == 0; i++)
		r = mark(m, fd, fe->ffy->mark[i], err);
	return r;
}

static void fanotify_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "fanotify with %zu marks", fe->ffy->n_mark);
}

const struct file_kind file_kind_fanotify = {
	.name = "fanotify descriptor",
	.type = FD_TYPES__FANOTIFY,
	.match = fanotify_match,
	.collect = fanotify_collect,
	.settle = watched_settle,
	.check = fanotify_check,
	.create = fanotify_create,
	.keep = true,
	.arm = fanotify_arm,
	.describe = fanotify_describe,
};
