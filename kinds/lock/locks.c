/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/lock/locks.h; the message: docs/FORMAT.md, fcntl(2), flock(2). */
#include "kinds/lock/locks.h"
#include "kernel/fdinfo.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

enum { LOCK_POSIX = 1, LOCK_FLOCK = 2, LOCK_OFD = 4, LOCK_LEASE = 8 }; /* file_lock_entry.flag */
/* file_lock_entry.type; of a lease that is being broken the type is what it has to become. */
enum { LOCK_SHARED = 0, LOCK_EXCLUSIVE = 1, LOCK_NONE = 2, LOCK_BREAKING = 4 };
enum { TAPE_LOCKS = 1000, BY_TABLE = 610 };

/* ---- dump ---- */

static uint32_t flag_of(enum fdinfo_lock_kind kind)
{
	switch (kind) {
	case FDINFO_POSIX:
		return LOCK_POSIX;
	case FDINFO_FLOCK:
		return LOCK_FLOCK;
	case FDINFO_OFD:
		return LOCK_OFD;
	default:
		return LOCK_LEASE;
	}
}

static void add_lock(struct world *w, const struct task *t, int fd, const struct fdinfo_lock *lock)
{
	FileLockEntry *e = arena_msg(w->arena, FileLockEntry, file_lock_entry);

	e->flag = flag_of(lock->kind);
	e->type = lock->none ? LOCK_NONE : lock->write ? LOCK_EXCLUSIVE : LOCK_SHARED;
	if (lock->breaking)
		e->type |= LOCK_BREAKING;
	e->pid = t->pid;
	e->fd = fd;
	e->start = (int64_t)lock->start;
	e->len = lock->end == UINT64_MAX ? 0 : (int64_t)(lock->end - lock->start + 1);
	world_add(w, IMG_FILE_LOCKS, 0, e);
}

int locks_collect(struct world *w, const struct options *o, struct table *seen, struct task *t, int fd,
	uint32_t file_id, const char *text, struct err *err)
{
	/* Duplicates show the same locks: POSIX ones once per table, others once per description. */
	uint64_t table = table_key(table_key(600, (uint32_t)t->pid), file_id);
	uint64_t description = table_key(601, file_id);
	bool posix_known = table_get(seen, table), others_known = table_get(seen, description);
	struct fdinfo_lock lock;
	struct cursor c = cursor_of(text);

	while (fdinfo_next_lock(&c, &lock)) {
		if (lock.kind == FDINFO_OTHER)
			return err_unsupported(err, "task %d (%s), descriptor %d has a file lock of unknown "
				"kind, which this version cannot save", t->pid, task_comm(t), fd);
		if (!o->file_locks)
			return err_unsupported(err, "task %d (%s), descriptor %d holds a %s; saving it needs "
				"--file-locks (at the dump and at the restore)", t->pid, task_comm(t), fd,
				lock.kind == FDINFO_LEASE ? "lease" : "file lock");
		if (lock.kind == FDINFO_POSIX ? !posix_known : !others_known)
			add_lock(w, t, fd, &lock);
	}
	table_put(seen, table, w);
	table_put(seen, description, w);
	return 0;
}

/* ---- checks ---- */

static bool is_known(const FileLockEntry *e)
{
	switch (e->flag) {
	case LOCK_POSIX:
	case LOCK_FLOCK:
	case LOCK_OFD:
		return e->type == LOCK_SHARED || e->type == LOCK_EXCLUSIVE;
	case LOCK_LEASE:
		return (e->type & ~(uint32_t)LOCK_BREAKING) <= LOCK_NONE;
	default:
		return false;
	}
}

static uint64_t number_key(const struct fdtable *table, uint32_t fd)
{
	return table_key((uintptr_t)table, fd);
}

static void index_numbers(const struct world *w, struct table *ret)
{
	world_each_task(t, w) {
		if (!task_is_alive(t) || t->fds->owner != t)
			continue;
		for (size_t i = 0; i < t->fds->n_fds; i++)
			table_put(ret, number_key(t->fds, t->fds->fds[i]->fd), t);
	}
}

void locks_check(const struct world *w, struct findings *f)
{
	const struct entry_list *list = &w->entries[IMG_FILE_LOCKS];
	struct table numbers = { 0 };

	if (list->n)
		index_numbers(w, &numbers);
	for (size_t i = 0; i < list->n; i++) {
		const FileLockEntry *e = list->at[i]->msg;
		const struct task *t = world_task(w, e->pid);

		if (!is_known(e))
			finding_add(f, "lock-kind", SEV_ERROR, e->pid,
				"task %d, descriptor %d: a file lock of kind %u, type %u, which this version "
				"does not know", e->pid, e->fd, e->flag, e->type);
		if (!t || !task_is_alive(t) || !table_get(&numbers, number_key(t->fds, (uint32_t)e->fd)))
			finding_add(f, "lock-owner", SEV_ERROR, e->pid,
				"a file lock belongs to descriptor %d of task %d, which is not there", e->fd,
				e->pid);
	}
	table_done(&numbers);
}

/* ---- restore ---- */

static uint64_t table_of_locks(const struct fdtable *table)
{
	return table_key(table_key(BY_TABLE, 1), (uintptr_t)table);
}

/* From the last to the first, so each list comes out in the order of the images. */
static void index_locks(struct file_maker *m)
{
	const struct entry_list *list = &m->world->entries[IMG_FILE_LOCKS];

	table_put(&m->made, table_key(BY_TABLE, 0), m);
	for (size_t i = list->n; i-- > 0;) {
		const FileLockEntry *e = list->at[i]->msg;
		const struct task *t = world_task(m->world, e->pid);
		struct lock_item *x;

		if (!t || !t->fds)
			continue;
		x = arena_new_of(m->arena, struct lock_item);
		*x = (struct lock_item){ .lock = e,
			.next = table_get(&m->made, table_of_locks(t->fds)) };
		table_put(&m->made, table_of_locks(t->fds), x);
	}
}

int locks_of(struct file_maker *m, const struct fdtable *table, struct lock_item **ret, struct err *err)
{
	if (m->world->entries[IMG_FILE_LOCKS].n && !m->options->file_locks)
		return err_usage(err, "the images hold file locks; restoring them needs --file-locks");
	if (!table_get(&m->made, table_key(BY_TABLE, 0)))
		index_locks(m);
	*ret = table_get(&m->made, table_of_locks(table));
	return 0;
}

/*
 * The holder of one that is being broken is about to give it back: it gets what there is to give.
 * One that becomes a lease to read was one to write; of one that has to go only the file knows what
 * it can have been: none to read where somebody may write (the second call fails then).
 */
static void tell_lease(struct tape *tape, const FileLockEntry *e)
{
	bool breaking = e->type & LOCK_BREAKING;
	uint32_t left = e->type & ~(uint32_t)LOCK_BREAKING;

	if (breaking || left == LOCK_EXCLUSIVE)
		tape_call(tape, "lock", breaking ? 0 : TAPE_MUST, SYS_fcntl, T(e->fd), T(F_SETLEASE),
			T(F_WRLCK));
	if (breaking ? left == LOCK_NONE : left == LOCK_SHARED)
		tape_call(tape, "lock", breaking ? 0 : TAPE_MUST, SYS_fcntl, T(e->fd), T(F_SETLEASE),
			T(F_RDLCK));
}

static void tell_lock(struct tape *tape, const FileLockEntry *e)
{
	struct flock f = { .l_type = e->type == LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET, .l_start = e->start, .l_len = e->len };

	if (e->flag == LOCK_LEASE)
		tell_lease(tape, e);
	else if (e->flag == LOCK_FLOCK)
		tape_call(tape, "lock", TAPE_MUST, SYS_flock, T(e->fd),
			T((e->type == LOCK_EXCLUSIVE ? LOCK_EX : LOCK_SH) | LOCK_NB));
	else
		tape_call(tape, "lock", TAPE_MUST, SYS_fcntl, T(e->fd),
			T(e->flag == LOCK_POSIX ? F_SETLK : F_OFD_SETLK),
			T_DATA(tape_data(tape, &f, sizeof(f))));
}

void locks_tell(struct tape *tape, struct lock_item **at)
{
	for (size_t told = 0; *at && told < TAPE_LOCKS; told++, *at = (*at)->next)
		tell_lock(tape, (*at)->lock);
}
