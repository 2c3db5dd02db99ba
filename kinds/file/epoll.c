/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * epoll(7). What is watched is known to the kernel by file and by the number it had when it was
 * added. So the entries are added again by a task which has the file at this number: the first one
 * whose table has all of them.
 *
 * Two sorts of entries torpor adds itself, before ("special"; their files are kept open until then):
 * - the number leads to another file or none now, while the file lives on by another descriptor;
 *   the images of other tools have no place for that, so torpor-state says which file it is;
 * - it was one-shot and has shot: nothing is reported until it is re-armed. That state can only be
 *   reached by shooting.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/fdinfo.h"
#include "kernel/kcmp.h"
#include "kinds/collect.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

enum { TAPE_ENTRIES = 2000, SEEN_STRAYS = 710 };

/* How a file is watched, not for what (EP_PRIVATE_BITS in the kernel). */
static const uint32_t manner = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
static const uint32_t everything = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLRDNORM |
	EPOLLRDBAND | EPOLLWRNORM | EPOLLWRBAND | EPOLLMSG;

/* ---- dump ---- */

/* An entry whose number does not lead to its file; to be found when all tables are known. */
struct stray {
	struct stray *next;
	struct task *task;
	struct file_watch watch;
	uint32_t epoll, index;
	EventpollTfdEntry *entry;
	const char *who;
};

static bool epoll_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[eventpoll]");
}

static void add_stray(const struct fd_look *l, const struct fdinfo_epoll *info, uint32_t nth,
	const EventpollFileEntry *e, EventpollTfdEntry *t)
{
	struct stray *s = arena_new_of(l->world->arena, struct stray);
	char who[96];

	*s = (struct stray){ .next = table_get(l->seen, table_key(SEEN_STRAYS, 0)),
		.task = world_task(l->world, l->task->pid), .epoll = e->id,
		.index = (uint32_t)e->n_tfd, .entry = t,
		.who = arena_strdup(l->world->arena, file_look_who(l, who, sizeof(who))),
		.watch = { .tid = l->tid, .efd = (uint32_t)l->fd, .tfd = info->tfd, .nth = nth,
			.sdev = info->sdev, .ino = info->ino } };
	table_put(l->seen, table_key(SEEN_STRAYS, 0), s);
}

/*
 * A socket has one description only, so its inode tells whether the number still leads to it. (An
 * O_PATH descriptor of a socket is another one; its link is neither readable nor writable.)
 */
static bool leads_to_socket(const struct fd_look *l, const struct fdinfo_epoll *info)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd/%u", l->tid, info->tfd);
	return stat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_ino == info->ino &&
		st.st_dev == makedev(info->sdev >> 20, info->sdev & 0xfffff) &&
		lstat(path, &st) == 0 && st.st_mode & S_IRUSR;
}

/* The kernel looks for the nth entry of a number from the first entry on, so that is the last resort. */
static bool leads_there(const struct fd_look *l, const struct fdinfo_epoll *info, uint32_t nth)
{
	return leads_to_socket(l, info) || kcmp_epoll(l->tid, (int)info->tfd, l->tid,
		(uint32_t)l->fd, info->tfd, nth) == 0;
}

static int epoll_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	struct arena *arena = l->world->arena;
	EventpollFileEntry *e = arena_msg(arena, EventpollFileEntry, eventpoll_file_entry);
	struct fdinfo_epoll info;
	struct table counts = { 0 }; /* number -> how many files were met by it */
	struct cursor c = cursor_of(l->fdinfo);

	e->id = fe->id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	while (fdinfo_next_epoll(&c, &info)) {
		EventpollTfdEntry *t = arena_msg(arena, EventpollTfdEntry, eventpoll_tfd_entry);
		uintptr_t nth = (uintptr_t)table_get(&counts, info.tfd);

		table_put(&counts, info.tfd, (void *)(nth + 1));
		t->tfd = info.tfd;
		t->events = info.events;
		t->data = info.data;
		t->has_dev = t->has_inode = t->has_pos = true;
		t->dev = info.sdev;
		t->inode = info.ino;
		t->pos = info.pos;
		if (!leads_there(l, &info, (uint32_t)nth))
			add_stray(l, &info, (uint32_t)nth, e, t);
		arena_push(arena, e->tfd, e->n_tfd, t);
	}
	table_done(&counts);
	fe->epfd = e;
	return 0;
}

static int epoll_settle(const struct settle *a, struct err *err)
{
	struct arena *arena = a->world->arena;
	const struct stray *s = table_get(a->seen, table_key(SEEN_STRAYS, 0));

	for (; s; s = s->next) {
		TorporEpollEntry *x = arena_msg(arena, TorporEpollEntry, torpor_epoll_entry);
		struct file_place place;

		if (file_find_watched(a->files, &s->watch, &place) < 0)
			return err_unsupported(err, "%s is an epoll descriptor that watches a file by the "
				"number %u, which no task of the tree has open; this version cannot save "
				"that", s->who, s->watch.tfd);
		x->epoll = s->epoll;
		x->index = s->index;
		x->number = s->watch.tfd;
		x->file = place.entry->id;
		arena_push(arena, s->task->extra->watched, s->task->extra->n_watched, x);
		/* For other readers: a number that does lead to it. */
		if (place.tid == s->watch.tid)
			s->entry->tfd = (uint32_t)place.fd;
	}
	return 0;
}

/* ---- checks ---- */

static void epoll_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	for (size_t i = 0; i < fe->epfd->n_tfd; i++)
		if (fe->epfd->tfd[i]->tfd > INT32_MAX)
			finding_add(f, "epoll-number", SEV_ERROR, 0,
				"epoll (file %u) watches descriptor %u", fe->id,
				fe->epfd->tfd[i]->tfd);
}

/* ---- restore ---- */

/* What torpor adds itself. */
struct special {
	struct special *next;
	size_t index;
	uint32_t number, file;
};

struct specials {
	struct special *first;
	uint8_t *has; /* by index */
};

static uint64_t specials_key(uint32_t id)
{
	return table_key(FD_TYPES__EVENTPOLL, id);
}

static bool has_shot(const EventpollTfdEntry *t)
{
	return t->events & EPOLLONESHOT && !(t->events & ~manner);
}

static void add_special(struct file_maker *m, const EventpollFileEntry *e, size_t index,
	uint32_t number, uint32_t file)
{
	struct specials *all = table_get(&m->made, specials_key(e->id));
	struct special *s;

	if (!all) {
		all = arena_new_of(m->arena, struct specials);
		all->has = arena_alloc(m->arena, e->n_tfd);
		table_put(&m->made, specials_key(e->id), all);
	}
	if (index >= e->n_tfd || all->has[index] || !world_file(m->world, file) || number > INT32_MAX)
		return;
	all->has[index] = 1;
	s = arena_new_of(m->arena, struct special);
	*s = (struct special){ .next = all->first, .index = index, .number = number, .file = file };
	all->first = s;
	file_keep(m, file);
	file_keep(m, e->id);
}

static bool any_shot(const EventpollFileEntry *e)
{
	for (size_t i = 0; i < e->n_tfd; i++)
		if (has_shot(e->tfd[i]))
			return true;
	return false;
}

/* The one-shot entries of the epoll descriptors of a table; what they watch is in the same one. */
static void prepare_table(struct file_maker *m, const struct fdtable *t)
{
	struct table numbers = { 0 }; /* 1 + number -> FdinfoEntry */

	for (size_t i = 0; i < t->n_fds; i++)
		table_put(&numbers, 1 + (uint64_t)t->fds[i]->fd, t->fds[i]);
	for (size_t i = 0; i < t->n_fds; i++) {
		const FileEntry *fe = world_file(m->world, t->fds[i]->id);

		if (!fe || fe->type != FD_TYPES__EVENTPOLL || !any_shot(fe->epfd))
			continue;
		for (size_t k = 0; k < fe->epfd->n_tfd; k++) {
			uint32_t number = fe->epfd->tfd[k]->tfd;
			const FdinfoEntry *x = table_get(&numbers, 1 + (uint64_t)number);

			if (x && has_shot(fe->epfd->tfd[k]))
				add_special(m, fe->epfd, k, number, x->id);
		}
	}
	table_done(&numbers);
}

static void epoll_prepare(struct file_maker *m)
{
	bool shot = false;

	world_each_task(t, m->world) {
		for (size_t i = 0; i < t->extra->n_watched; i++) {
			const TorporEpollEntry *x = t->extra->watched[i];
			const FileEntry *fe = world_file(m->world, x->epoll);

			if (fe && fe->type == FD_TYPES__EVENTPOLL)
				add_special(m, fe->epfd, x->index, x->number, x->file);
		}
	}
	for (size_t i = 0; i < m->world->entries[IMG_FILES].n && !shot; i++) {
		const FileEntry *fe = m->world->entries[IMG_FILES].at[i]->msg;

		shot = fe->type == FD_TYPES__EVENTPOLL && any_shot(fe->epfd);
	}
	world_each_task(t, m->world)
		if (shot && task_is_alive(t) && t->fds->owner == t)
			prepare_table(m, t->fds);
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

/* epoll_ctl(2) of a file by a number; whatever has it of ours moves away for the moment. */
static int control(int epoll, int op, int file, uint32_t number, struct epoll_event *ev)
{
	auto_close int own = fcntl(epoll, F_DUPFD_CLOEXEC, (int)number + 1);
	auto_close int saved = -1;
	int r;

	if (own < 0)
		return -errno;
	if (file == (int)number)
		return epoll_ctl(own, op, file, ev) < 0 ? -errno : 0;
	saved = fcntl((int)number, F_DUPFD_CLOEXEC, (int)number + 1);
	if (saved < 0 && errno != EBADF)
		return -errno;
	if (dup3(file, (int)number, O_CLOEXEC) < 0)
		return -errno;
	r = epoll_ctl(own, op, (int)number, ev) < 0 ? -errno : 0;
	if (saved < 0)
		close((int)number);
	else if (dup3(saved, (int)number, O_CLOEXEC) < 0 && r == 0)
		r = -errno;
	return r;
}

static int add_specials(struct file_maker *m, const EventpollFileEntry *e, const struct special *s,
	int fd, bool shot, struct err *err)
{
	for (; s; s = s->next) {
		const EventpollTfdEntry *t = e->tfd[s->index];
		struct epoll_event ev = { .events = t->events, .data.u64 = t->data };
		int file, r;

		if (has_shot(t) != shot)
			continue;
		if (shot)
			ev.events |= everything;
		r = file_made(m, s->file, &file, err);
		if (r < 0)
			return r;
		r = control(fd, EPOLL_CTL_ADD, file, s->number, &ev);
		if (r < 0)
			return err_sysn(err, -r, "cannot watch file entry %u by the number %u", s->file,
				s->number);
	}
	return 0;
}

/* Numbers of entries that still wait for something, after all were to shoot. */
static int find_loaded(int fd, struct table *ret, struct err *err)
{
	auto_free char *text = NULL;
	struct fdinfo_epoll info;
	struct cursor c;
	int r = io_slurpf(&text, NULL, "/proc/self/fdinfo/%d", fd);

	if (r < 0)
		return err_sysn(err, -r, "cannot read about an epoll descriptor");
	c = cursor_of(text);
	while (fdinfo_next_epoll(&c, &info))
		if (info.events & ~manner)
			table_put(ret, 1 + (uint64_t)info.tfd, ret);
	return 0;
}

/* What was not ready for anything cannot shoot: errors and hang-ups, never masked, would report. */
static int unload(struct file_maker *m, const EventpollFileEntry *e, const struct special *s, int fd,
	struct err *err)
{
	struct table loaded = { 0 };
	int r = find_loaded(fd, &loaded, err);

	for (; s && r == 0; s = s->next) {
		const EventpollTfdEntry *t = e->tfd[s->index];
		struct epoll_event ev = { .events = t->events, .data.u64 = t->data };
		int file;

		if (!has_shot(t) || !table_get(&loaded, 1 + (uint64_t)s->number))
			continue;
		r = file_made(m, s->file, &file, err);
		if (r == 0)
			r = control(fd, EPOLL_CTL_MOD, file, s->number, &ev);
	}
	table_done(&loaded);
	return r;
}

/* Those that have shot come first and alone: all that are ready for anything shoot now. */
static int shoot(struct file_maker *m, const EventpollFileEntry *e, struct special *s, int fd,
	struct err *err)
{
	enum { BATCH = 64 };
	struct epoll_event got[BATCH];
	int r = add_specials(m, e, s, fd, true, err), n;

	if (r < 0)
		return r;
	do
		n = epoll_wait(fd, got, BATCH, 0);
	while (n == BATCH);
	return unload(m, e, s, fd, err);
}

static int epoll_connect(struct file_maker *m, const FileEntry *fe, int fd, struct err *err)
{
	const struct specials *all = table_get(&m->made, specials_key(fe->id));
	int r;

	if (!all || !all->first || fd < 0)
		return 0;
	r = shoot(m, fe->epfd, all->first, fd, err);
	return r < 0 ? r : add_specials(m, fe->epfd, all->first, fd, false, err);
}

static int epoll_tell(struct file_maker *m, const FileEntry *fe, int number,
	bool (*has)(const void *table, int n), const void *table, struct tape *tape, size_t *at)
{
	const EventpollFileEntry *e = fe->epfd;
	const struct specials *special = table_get(&m->made, specials_key(fe->id));

	for (size_t i = *at; i < e->n_tfd; i++)
		if (!(special && special->has[i]) && !has(table, (int)e->tfd[i]->tfd))
			return 0;
	for (size_t said = 0; *at < e->n_tfd && said < TAPE_ENTRIES; ++*at) {
		const EventpollTfdEntry *t = e->tfd[*at];
		struct epoll_event ev = { .events = t->events, .data.u64 = t->data };

		if (special && special->has[*at])
			continue;
		tape_call(tape, "epoll", TAPE_MUST, SYS_epoll_ctl, T(number), T(EPOLL_CTL_ADD),
			T(t->tfd), T_DATA(tape_data(tape, &ev, sizeof(ev))));
		said++;
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
	.settle = epoll_settle,
	.check = epoll_check,
	.prepare = epoll_prepare,
	.create = epoll_make,
	.connect = epoll_connect,
	.tell = epoll_tell,
	.describe = epoll_describe,
};
