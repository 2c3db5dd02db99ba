/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/lock/locks.h; the message: docs/FORMAT.md, fcntl(2), flock(2). */
#include "kinds/lock/locks.h"
#include "kernel/fdinfo.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

enum { LOCK_POSIX = 1, LOCK_FLOCK = 2, LOCK_OFD = 4 }; /* file_lock_entry.flag */
enum { LOCK_SHARED = 0, LOCK_EXCLUSIVE = 1 }; /* file_lock_entry.type */
enum { TAPE_LOCKS = 1000 };

static const char *kind_name(enum fdinfo_lock_kind kind)
{
	return kind == FDINFO_LEASE ? "a lease" : "a file lock of unknown kind";
}

static void add_lock(struct world *w, const struct task *t, int fd, const struct fdinfo_lock *lock)
{
	FileLockEntry *e = arena_msg(w->arena, FileLockEntry, file_lock_entry);

	e->flag = lock->kind == FDINFO_POSIX ? LOCK_POSIX :
		lock->kind == FDINFO_FLOCK   ? LOCK_FLOCK :
					       LOCK_OFD;
	e->type = lock->write ? LOCK_EXCLUSIVE : LOCK_SHARED;
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
	size_t at = 0;

	while (fdinfo_next_lock(text, &at, &lock)) {
		if (lock.kind == FDINFO_LEASE || lock.kind == FDINFO_OTHER)
			return err_unsupported(err, "task %d (%s), descriptor %d has %s, which this "
				"version cannot save", t->pid, task_comm(t), fd, kind_name(lock.kind));
		if (!o->file_locks)
			return err_unsupported(err, "task %d (%s), descriptor %d holds a file lock; saving "
				"it needs --file-locks (at the dump and at the restore)", t->pid,
				task_comm(t), fd);
		if (lock.kind == FDINFO_POSIX ? !posix_known : !others_known)
			add_lock(w, t, fd, &lock);
	}
	table_put(seen, table, w);
	table_put(seen, description, w);
	return 0;
}

int locks_wanted(const struct world *w, const struct options *o, const struct task *t, bool *ret,
	struct err *err)
{
	const struct entry_list *list = &w->entries[IMG_FILE_LOCKS];

	*ret = list->n > 0;
	if (list->n && !o->file_locks)
		return err_usage(err, "the images hold file locks; restoring them needs --file-locks");
	return 0;
}

static void tell_lock(struct tape *tape, const FileLockEntry *e)
{
	struct flock f = { .l_type = e->type == LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET, .l_start = e->start, .l_len = e->len };

	if (e->flag == LOCK_FLOCK)
		tape_call(tape, "lock", TAPE_MUST, SYS_flock, T(e->fd),
			T((e->type == LOCK_EXCLUSIVE ? LOCK_EX : LOCK_SH) | LOCK_NB));
	else
		tape_call(tape, "lock", TAPE_MUST, SYS_fcntl, T(e->fd),
			T(e->flag == LOCK_POSIX ? F_SETLK : F_OFD_SETLK),
			T_DATA(tape_data(tape, &f, sizeof(f))));
}

int locks_tell(const struct world *w, const struct task *t, struct tape *tape, size_t *at,
	struct err *err)
{
	const struct entry_list *list = &w->entries[IMG_FILE_LOCKS];

	for (size_t told = 0; *at < list->n && told < TAPE_LOCKS; ++*at) {
		const FileLockEntry *e = list->at[*at]->msg;

		if (e->pid != t->pid)
			continue;
		if (e->flag != LOCK_POSIX && e->flag != LOCK_FLOCK && e->flag != LOCK_OFD)
			return err_unsupported(err, "task %d, descriptor %d: a file lock of kind %u, which "
				"this version cannot restore", e->pid, e->fd, e->flag);
		if (e->type != LOCK_SHARED && e->type != LOCK_EXCLUSIVE)
			return err_unsupported(err, "task %d, descriptor %d: a file lock of type %u, which "
				"this version cannot restore", e->pid, e->fd, e->type);
		tell_lock(tape, e);
		told++;
	}
	return 0;
}
