/* SPDX-License-Identifier: GPL-2.0-or-later */
/* signalfd(2): a set of signals. What it reads are the reader's own pending signals. */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>

static bool signalfd_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[signalfd]");
}

static int signalfd_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	SignalfdEntry *e = arena_msg(l->world->arena, SignalfdEntry, signalfd_entry);
	char who[96];

	if (!fdinfo_parse_signalfd(l->fdinfo, &e->sigmask))
		return err_set(err, ERR_KERNEL, 71, "%s: the kernel does not tell the set of a signalfd",
			file_look_who(l, who, sizeof(who)));
	e->id = fe->id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	fe->sgfd = e;
	return 0;
}

static int signalfd_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const SignalfdEntry *e = fe->sgfd;
	uint64_t set = e->sigmask;
	/* The raw call: the C library's set has more than the kernel's 64 signals. */
	auto_close int fd = (int)syscall(SYS_signalfd4, -1, &set, sizeof(set), SFD_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(err, "cannot make a signalfd");
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static void signalfd_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "signalfd set %016llx", (unsigned long long)fe->sgfd->sigmask);
}

const struct file_kind file_kind_signalfd = {
	.name = "signalfd",
	.type = FD_TYPES__SIGNALFD,
	.match = signalfd_match,
	.collect = signalfd_collect,
	.create = signalfd_create,
	.describe = signalfd_describe,
};
