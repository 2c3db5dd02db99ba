/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pidfd_open(2): refers to a process or thread of the tree, or to one which has ended. For those a
 * process is made, referred to and reaped at once; descriptors with the same inode (pidfs, since
 * 6.9) refer to the same one.
 */
#include "base/cleanup.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { NOBODY = -1, SEEN_TIDS = 700 };

/* O_EXCL is PIDFD_THREAD (6.9). */
static const uint32_t open_flags = O_NONBLOCK | O_EXCL;

static bool pidfd_match(const struct fd_look *l)
{
	return !strcmp(l->link, "anon_inode:[pidfd]") || !strncmp(l->link, "pidfd:[", 7);
}

/* All threads of the tree by id, indexed on the first call. */
static bool is_in_tree(const struct fd_look *l, int64_t tid)
{
	uint64_t done = table_key(SEEN_TIDS, 0);

	if (!table_get(l->seen, done)) {
		table_put(l->seen, done, l->seen);
		world_each_task(t, l->world)
			task_each_thread(th, t)
				table_put(l->seen, table_key(SEEN_TIDS, (uint32_t)th->tid), th);
	}
	return tid > 0 && table_get(l->seen, table_key(SEEN_TIDS, (uint32_t)tid));
}

static int pidfd_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	PidfdEntry *e = arena_msg(l->world->arena, PidfdEntry, pidfd_entry);
	char who[96];
	int64_t pid;

	file_look_who(l, who, sizeof(who));
	if (!fdinfo_parse_pidfd(l->fdinfo, &pid))
		return err_set(err, ERR_KERNEL, 71, "%s: the kernel does not tell whose pidfd it is", who);
	if (pid != NOBODY && !is_in_tree(l, pid))
		return err_unsupported(err, "%s is a pidfd of process %lld, which is outside of the tree; "
			"it cannot be restored", who, (long long)pid);
	e->id = fe->id;
	e->ino = (uint32_t)l->st.st_ino;
	e->flags = flags_collect(l) & ~(uint32_t)O_RDWR;
	e->nspid = (int32_t)pid;
	e->fown = fown_collect(l);
	fe->pidfd = e;
	return 0;
}

/* Leaders by the index of the world; few refer to other threads. */
static const struct thread *find_thread(const struct world *w, int32_t tid)
{
	const struct task *leader = world_task(w, tid);

	if (leader)
		return &leader->threads[0];
	world_each_task(t, w)
		task_each_thread(th, t)
			if (th->tid == tid)
				return th;
	return NULL;
}

static void pidfd_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const PidfdEntry *e = fe->pidfd;
	const struct thread *th = e->nspid > 0 ? find_thread(w, e->nspid) : NULL;

	if (e->nspid == NOBODY)
		return;
	if (!th || (th != &th->task->threads[0] && !(e->flags & O_EXCL)))
		finding_add(f, "pidfd-pid", SEV_ERROR, 0,
			"pidfd (file %u) refers to process %d, which is not among those saved", fe->id,
			e->nspid);
}

static int open_pidfd(pid_t pid, uint32_t flags)
{
	return (int)syscall(SYS_pidfd_open, pid, flags & open_flags);
}

static uint64_t dead_key(uint32_t id)
{
	return table_key(FD_TYPES__PIDFD, id);
}

static int by_process(const void *a, const void *b)
{
	const FileEntry *x = *(const FileEntry *const *)a, *y = *(const FileEntry *const *)b;

	return x->pidfd->ino < y->pidfd->ino ? -1 : x->pidfd->ino > y->pidfd->ino;
}

/* A process that has ended but is not reaped yet can be referred to. */
static int make_one_dead(struct file_maker *m, const FileEntry **group, size_t n, struct err *err)
{
	pid_t pid = fork();
	int r = 0;

	if (pid < 0)
		return err_sys(err, "cannot make a process that has ended");
	if (pid == 0)
		_exit(0);
	for (size_t i = 0; i < n && r == 0; i++) {
		int fd = open_pidfd(pid, group[i]->pidfd->flags & O_NONBLOCK);

		if (fd < 0)
			r = err_sys(err, "cannot refer to a process that has ended (pidfd_open)");
		else
			table_put(&m->made, dead_key(group[i]->id), (void *)(intptr_t)(fd + 1));
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	return r;
}

/* All of the images at once. */
static int make_dead(struct file_maker *m, struct err *err)
{
	const struct entry_list *list = &m->world->entries[IMG_FILES];
	const FileEntry **dead = arena_array(m->arena, list->n, sizeof(*dead));
	size_t n = 0, end;
	int r = 0;

	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;

		if (fe->type == FD_TYPES__PIDFD && fe->pidfd->nspid == NOBODY)
			dead[n++] = fe;
	}
	qsort(dead, n, sizeof(*dead), by_process);
	for (size_t i = 0; i < n && r == 0; i = end) {
		for (end = i + 1; end < n && dead[end]->pidfd->ino == dead[i]->pidfd->ino; end++)
			continue;
		r = make_one_dead(m, dead + i, end - i, err);
	}
	return r;
}

/* Takes the descriptor out of those made. */
static int take_dead(struct file_maker *m, uint32_t id)
{
	intptr_t made = (intptr_t)table_get(&m->made, dead_key(id));

	table_put(&m->made, dead_key(id), (void *)(intptr_t)-1);
	return made > 0 ? (int)made - 1 : -1;
}

static pid_t real_of(const struct world *w, const PidfdEntry *e)
{
	const struct thread *th = find_thread(w, e->nspid);

	return th && th->real ? th->real : e->nspid;
}

static int pidfd_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const PidfdEntry *e = fe->pidfd;
	auto_close int fd = -1;
	int r;

	if (e->nspid == NOBODY && !table_get(&m->made, dead_key(fe->id))) {
		r = make_dead(m, err);
		if (r < 0)
			return r;
	}
	fd = e->nspid == NOBODY ? take_dead(m, fe->id) : open_pidfd(real_of(m->world, e), e->flags);
	if (fd < 0)
		return err_sys(err, "cannot refer to process %d (pidfd_open)", e->nspid);
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

/* Those that no table wanted. */
static void pidfd_clean(struct file_maker *m)
{
	const struct entry_list *list = &m->world->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;
		int fd;

		if (fe->type != FD_TYPES__PIDFD || !table_get(&m->made, dead_key(fe->id)))
			continue;
		fd = take_dead(m, fe->id);
		if (fd >= 0)
			close(fd);
	}
}

static void pidfd_describe(const FileEntry *fe, char *buf, size_t size)
{
	if (fe->pidfd->nspid == NOBODY)
		snprintf(buf, size, "pidfd of a process that has ended");
	else
		snprintf(buf, size, "pidfd of %s %d", fe->pidfd->flags & O_EXCL ? "thread" : "process",
			fe->pidfd->nspid);
}

const struct file_kind file_kind_pidfd = {
	.name = "pidfd",
	.type = FD_TYPES__PIDFD,
	.match = pidfd_match,
	.collect = pidfd_collect,
	.check = pidfd_check,
	.create = pidfd_create,
	.clean = pidfd_clean,
	.describe = pidfd_describe,
};
