/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * inotify(7). Numbers of watches (wd) are given out in ascending order and stay the program's names
 * for what it watches: a watch is removed and made again until it has its number.
 *
 * Watches are made when everything else is open, so that they do not see the restore.
 */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

enum { WD_MAX = 1 << 22 }; /* one takes a microsecond or two */

/* What inotify_add_watch(2) takes and keeps; the kernel shows internal bits, too (before 5.19). */
static const uint32_t mask_bits = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT;

static bool inotify_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:inotify");
}

static int inotify_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	struct arena *arena = l->world->arena;
	InotifyFileEntry *e = arena_msg(arena, InotifyFileEntry, inotify_file_entry);
	struct fdinfo_watch w;
	struct cursor c = cursor_of(l->fdinfo);

	e->id = fe->id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	fe->ify = e;
	while (fdinfo_next_inotify(&c, &w)) {
		InotifyWdEntry *wd = arena_msg(arena, InotifyWdEntry, inotify_wd_entry);
		int r = watched_collect(l, &w, "inotify", &wd->f_handle, err);

		if (r < 0)
			return r;
		wd->i_ino = w.ino;
		wd->mask = w.mask;
		wd->ignored_mask = w.ignored;
		wd->s_dev = w.sdev;
		wd->wd = w.wd;
		arena_push(arena, e->wd, e->n_wd, wd);
	}
	watched_report_queue(l, "inotify");
	return 0;
}

static void inotify_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const InotifyFileEntry *e = fe->ify;
	struct table numbers = { 0 };

	for (size_t i = 0; i < e->n_wd; i++) {
		const InotifyWdEntry *wd = e->wd[i];

		if (!wd->wd || wd->wd > WD_MAX || table_get(&numbers, wd->wd))
			finding_add(f, "inotify-wd", SEV_ERROR, 0,
				"inotify (file %u): the watch number %u %s", fe->id, wd->wd,
				table_get(&numbers, wd->wd) ? "stands twice" : "is out of range");
		if (!(wd->mask & IN_ALL_EVENTS))
			finding_add(f, "inotify-mask", SEV_ERROR, 0,
				"inotify (file %u): watch %u waits for nothing (mask 0x%x)", fe->id,
				wd->wd, wd->mask);
		table_put(&numbers, wd->wd, (void *)wd);
	}
	table_done(&numbers);
}

static int inotify_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	auto_close int fd = inotify_init1(IN_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(err, "cannot make an inotify descriptor");
	r = fown_restore(fd, fe->ify->fown, err);
	if (r == 0)
		r = flags_restore(fd, fe->ify->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

/* Removing a watch leaves an event. */
static void drain(int fd)
{
	char buf[16384];
	int bytes = 0;

	while (ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 && read(fd, buf, sizeof(buf)) > 0)
		continue;
}

static int add_watch(struct file_maker *m, int fd, const InotifyWdEntry *e, struct err *err)
{
	auto_close int file = -1;
	char self[64];
	uint32_t mask = e->mask & mask_bits;
	int wd = 0, rounds = 0, r;

	r = watched_open(m, e->s_dev, e->i_ino, e->f_handle, &file, err);
	if (r < 0)
		return r;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", file);
	while ((wd = inotify_add_watch(fd, self, mask)) >= 0 && (uint32_t)wd < e->wd) {
		if (inotify_rm_watch(fd, wd) < 0)
			break;
		if (++rounds % 1024 == 0)
			drain(fd);
	}
	if (wd < 0)
		return err_sys(err, "cannot watch '%s'", e->f_handle->path ? e->f_handle->path : "a file");
	if ((uint32_t)wd != e->wd)
		return err_target(err, EEXIST, "the watch %u of '%s' got the number %d; another watch of "
			"the same inotify descriptor leads to the same file now", e->wd,
			e->f_handle->path ? e->f_handle->path : "a file", wd);
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const InotifyWdEntry *x = *(InotifyWdEntry *const *)a, *y = *(InotifyWdEntry *const *)b;

	return x->wd < y->wd ? -1 : x->wd > y->wd;
}

static int inotify_arm(struct file_maker *m, const FileEntry *fe, int fd, struct err *err)
{
	const InotifyFileEntry *e = fe->ify;
	InotifyWdEntry **sorted = arena_memdup(m->arena, e->wd, e->n_wd * sizeof(*sorted));
	int r = 0;

	if (fd < 0)
		return 0;
	if (e->n_wd)
		qsort(sorted, e->n_wd, sizeof(*sorted), by_number);
	for (size_t i = 0; i < e->n_wd && r == 0; i++)
		r = add_watch(m, fd, sorted[i], err);
	drain(fd);
	return r;
}

static void inotify_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "inotify of %zu files", fe->ify->n_wd);
}

const struct file_kind file_kind_inotify = {
	.name = "inotify descriptor",
	.type = FD_TYPES__INOTIFY,
	.match = inotify_match,
	.collect = inotify_collect,
	.settle = watched_settle,
	.check = inotify_check,
	.create = inotify_create,
	.keep = true,
	.arm = inotify_arm,
	.describe = inotify_describe,
};
