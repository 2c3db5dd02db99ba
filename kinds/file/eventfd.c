/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * eventfd(2). The message has no member for EFD_SEMAPHORE; it stands in bit 0 of the flags, where
 * O_WRONLY would be, which an eventfd (always O_RDWR) never has and other readers ignore.
 */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>

static bool eventfd_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[eventfd]");
}

static int eventfd_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	EventfdFileEntry *e = arena_msg(l->world->arena, EventfdFileEntry, eventfd_file_entry);
	struct fdinfo_eventfd info;
	char who[96];

	if (!fdinfo_parse_eventfd(l->fdinfo, &info))
		return err_set(err, ERR_KERNEL, 71, "%s: the kernel does not tell the count of an eventfd",
			file_look_who(l, who, sizeof(who)));
	e->id = fe->id;
	e->flags = flags_collect(l) | (info.semaphore ? EFD_SEMAPHORE : 0);
	e->fown = fown_collect(l);
	e->counter = info.count;
	fe->efd = e;
	return 0;
}

static int eventfd_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const EventfdFileEntry *e = fe->efd;
	/* All ones is what an overflow leaves and cannot be written; one less reads alike. */
	uint64_t count = e->counter == UINT64_MAX ? UINT64_MAX - 1 : e->counter;
	auto_close int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (e->flags & EFD_SEMAPHORE));
	int r;

	if (fd < 0)
		return err_sys(err, "cannot make an eventfd");
	if (count && write(fd, &count, sizeof(count)) != sizeof(count))
		return err_sys(err, "cannot set the count of an eventfd");
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static void eventfd_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "eventfd count %llu%s", (unsigned long long)fe->efd->counter,
		fe->efd->flags & EFD_SEMAPHORE ? " semaphore" : "");
}

const struct file_kind file_kind_eventfd = {
	.name = "eventfd",
	.type = FD_TYPES__EVENTFD,
	.match = eventfd_match,
	.collect = eventfd_collect,
	.create = eventfd_create,
	.describe = eventfd_describe,
};
