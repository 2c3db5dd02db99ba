/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * epoll(7). What is watched is known to the kernel by file and by the number it had when it was
 * added. So the entries are added again by a task which has the file at this number: the first one
 * whose table has all of them.
 */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kernel/kcmp.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

enum { TAPE_ENTRIES = 2000 };

static bool epoll_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[eventpoll]");
}

/* The file which the kernel notes under the number is the one that has the number now. */
static bool is_at_number(const struct fd_look *l, uint32_t tfd)
{
	return kcmp_epoll(l->tid, (int)tfd, l->tid, (uint32_t)l->fd, tfd, 0) == 0;
}

static int epoll_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	struct arena *arena = l->world->arena;
	EventpollFileEntry *e = arena_msg(arena, EventpollFileEntry, eventpoll_file_entry);
	struct fdinfo_epoll info;
	struct table numbers = { 0 };
	char who[96];
	size_t at = 0;
	int r = 0;

	file_look_who(l, who, sizeof(who));
	e->id = fe->id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	while (r == 0 && fdinfo_next_epoll(l->fdinfo, &at, &info)) {
		EventpollTfdEntry *t = arena_msg(arena, EventpollTfdEntry, eventpoll_tfd_entry);

		/* A number with two files was used again while the first one lived on. */
		if (table_get(&numbers, info.tfd) || !is_at_number(l, info.tfd))
			r = err_unsupported(err, "%s is an epoll descriptor that watches a file by the "
				"number %u, which is closed or another file now; this version cannot save "
				"that", who, info.tfd);
		table_put(&numbers, info.tfd, t);
		t->tfd = info.tfd;
		t->events = info.events;
		t->data = info.data;
		t->has_dev = t->has_inode = t->has_pos = true;
		t->dev = info.sdev;
		t->inode = info.ino;
		t->pos = info.pos;
		arena_push(arena, e->tfd, e->n_tfd, t);
	}
	table_done(&numbers);
	fe->epfd = e;
	return r;
}

static int epoll_make(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	auto_close int fd = epoll_create1(EPOLL_CLOEXEC);
	int r;

	if (fd < 0)
		return err_sys(err, "cannot make an epoll descriptor");
	r = fown_restore(fd, fe->epfd->fown, err);
	if (r == 0)
		r = flags_restore(fd, fe->epfd->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static int epoll_tell(const FileEntry *fe, int number, bool (*has)(const void *table, int n),
	const void *table, struct tape *tape, size_t *at)
{
	const EventpollFileEntry *e = fe->epfd;

	for (size_t i = *at; i < e->n_tfd; i++)
		if (e->tfd[i]->tfd > INT32_MAX || !has(table, (int)e->tfd[i]->tfd))
			return 0;
	for (size_t said = 0; *at < e->n_tfd && said < TAPE_ENTRIES; ++*at, said++) {
		const EventpollTfdEntry *t = e->tfd[*at];
		struct epoll_event ev = { .events = t->events, .data.u64 = t->data };

		tape_call(tape, "epoll", TAPE_MUST, SYS_epoll_ctl, T(number), T(EPOLL_CTL_ADD),
			T(t->tfd), T_DATA(tape_data(tape, &ev, sizeof(ev))));
	}
	return *at < e->n_tfd ? 2 : 1;
}

static void epoll_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "epoll of %zu descriptors", fe->epfd->n_tfd);
}

const struct file_kind file_kind_epoll = {
	.name = "epoll descriptor",
	.type = FD_TYPES__EVENTPOLL,
	.match = epoll_match,
	.collect = epoll_collect,
	.create = epoll_make,
	.tell = epoll_tell,
	.describe = epoll_describe,
};
