/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System V shared memory (shmget(2)). A segment is a file without a name; its inode number is its
 * id, and the map_files link of an area leads to it. Its content is saved with other shared memory.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kinds/ipc/family.h"
#include "pages/shmem.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/vfs.h>

enum { SEEN_SEGMENTS = 1000, SEEN_SHARED = 500 };

#ifndef SHM_DEST
#define SHM_DEST 01000
#endif

/* ---- dump ---- */

/* One of the namespace. */
struct segment {
	struct sysv_shm shm;
	bool saved;
};

static uint64_t segment_key(uint64_t id)
{
	return table_key(SEEN_SEGMENTS, id);
}

/* Other shared memory is numbered, too; both kinds share one set of numbers. */
int sysv_reserve(struct file_collector *c, struct err *err)
{
	struct table *seen = file_collector_seen(c);
	struct sysv_shms list = { 0 };
	int r = sysv_list_shm(&list, err);

	vec_each(s, &list) {
		struct segment *x = arena_new_of(file_collector_arena(c), struct segment);

		x->shm = *s;
		table_put(seen, segment_key((uint64_t)s->perm.id), x);
		table_put(seen, table_key(SEEN_SHARED, (uint32_t)s->perm.id), x);
	}
	vec_done(&list);
	return r;
}

bool sysv_is_area(const struct smaps_area *a)
{
	return a->shared && !strncmp(a->name, "/SYSV", 5) && strstr(a->name, " (deleted)");
}

/* Takes the descriptor. */
static int save(struct file_collector *c, struct world *w, struct segment *x, int take_fd,
	struct err *err)
{
	struct shared_memory shared = { .shmid = (uint32_t)x->shm.perm.id, .size = x->shm.size,
		.fd = take_fd };
	IpcShmEntry *e = arena_msg(w->arena, IpcShmEntry, ipc_shm_entry);
	struct statfs fs;

	vec_push(file_collector_shared(c), shared);
	if (fstatfs(take_fd, &fs) < 0)
		return err_sys(err, "cannot look at the shared memory %d", x->shm.perm.id);
	e->desc = sysv_desc(w->arena, &x->shm.perm);
	e->size = x->shm.size;
	e->has_in_pagemaps = e->in_pagemaps = true;
	if (fs.f_type == HUGETLBFS_MAGIC) {
		e->has_hugetlb_flag = true;
		e->hugetlb_flag = SHM_HUGETLB |
			(uint32_t)__builtin_ctzl((unsigned long)fs.f_bsize) << 26;
	}
	world_add(w, IMG_IPCNS_SHM, sysv_space(w), e);
	x->saved = true;
	return 0;
}

int sysv_look_area(struct file_collector *c, struct world *w, const struct task *t, pid_t tid,
	const struct smaps_area *a, VmaEntry *v, struct err *err)
{
	struct segment *x = table_get(file_collector_seen(c), segment_key(a->inode));
	char path[96];
	int fd;

	if (!x)
		return err_unsupported(err, "task %d (%s): the area 0x%lx-0x%lx is System V shared memory "
			"of another IPC namespace, which this version cannot save", t->pid, task_comm(t),
			a->start, a->end);
	v->shmid = a->inode;
	v->pgoff = a->offset;
	if (x->saved)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", tid, a->start, a->end);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, "task %d (%s): cannot reach the shared memory %lu", t->pid,
			task_comm(t), (unsigned long)a->inode);
	return save(c, w, x, fd, err);
}

/* Through our own memory; writable where it is to be filled. */
static int open_segment(int id, uint64_t size, int flags, int *ret_fd, struct err *err)
{
	void *p = shmat(id, NULL, flags == O_RDONLY ? SHM_RDONLY : 0);
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), len = (size + page - 1) & ~(page - 1);
	char path[96];
	int saved;

	if (p == (void *)-1)
		return err_sys(err, "cannot attach the shared memory %d", id);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)p,
		(unsigned long)p + len);
	*ret_fd = open(path, flags | O_CLOEXEC);
	saved = errno;
	shmdt(p);
	return *ret_fd < 0 ? err_sysn(err, saved, "cannot reach the shared memory %d", id) : 0;
}

int sysv_collect_shm(struct file_collector *c, struct world *w, struct err *err)
{
	struct table *seen = file_collector_seen(c);
	struct sysv_shms list = { 0 };
	int r = sysv_list_shm(&list, err);

	vec_each(s, &list) {
		struct segment *x = table_get(seen, segment_key((uint64_t)s->perm.id));
		int fd;

		if (r < 0 || !x || x->saved || !sysv_is_ours(w, s->creator))
			continue;
		r = open_segment(s->perm.id, s->size, O_RDONLY, &fd, err);
		if (r == 0)
			r = save(c, w, x, fd, err);
	}
	vec_done(&list);
	return r;
}

/* ---- restore ---- */

static int fill(struct sysv_made *m, const IpcShmEntry *e, struct err *err)
{
	auto_close int fd = -1;
	int r = e->size ? open_segment((int)e->desc->id, e->size, O_RDWR, &fd, err) : 0;

	return r < 0 || fd < 0 ? r : shmem_fill(m->images, e->desc->id, fd, err);
}

/* 1: it is there, and ours to use. */
static int find(struct sysv_made *m, const IpcShmEntry *e, const char *name, struct err *err)
{
	struct sysv_object o = { .kind = SYSV_SHM, .id = (int)e->desc->id };
	struct shmid_ds ds;
	int r = 0;

	if (shmctl((int)e->desc->id, IPC_STAT, &ds) < 0)
		return 0;
	if (ds.shm_segsz != e->size || (ds.shm_perm.__key != (key_t)e->desc->key &&
		!(ds.shm_perm.mode & SHM_DEST)))
		return err_target(err, EEXIST, "%s: other shared memory has that number", name);
	if (ds.shm_nattch)
		log_warn("%s is in use by %lu processes; the tree goes on with what is in it now", name,
			(unsigned long)ds.shm_nattch);
	else
		r = fill(m, e, err);
	vec_push(&m->objects, o);
	return r < 0 ? r : 1;
}

static int make(struct sysv_made *m, const IpcShmEntry *e, const char *name, struct err *err)
{
	struct shmid_ds ds = { .shm_perm = { .uid = e->desc->uid, .gid = e->desc->gid,
				       .mode = (unsigned short)(e->desc->mode & 0777) } };
	int id, r = sysv_next(SYSV_SHM, e->desc, err);

	if (r < 0)
		return r;
	id = shmget((key_t)e->desc->key, e->size,
		IPC_CREAT | IPC_EXCL | (int)(e->desc->mode & 0777) | (int)e->hugetlb_flag);
	if (id < 0)
		return err_sys(err, "cannot make %s of %lu bytes", name, (unsigned long)e->size);
	r = sysv_got(m, SYSV_SHM, id, e->desc, err);
	if (r < 0)
		return r;
	m->objects.at[m->objects.n - 1].marked = e->desc->mode & SHM_DEST;
	if (shmctl(id, IPC_SET, &ds) < 0)
		return err_sys(err, "cannot set the owner of %s", name);
	return fill(m, e, err);
}

int sysv_make_shm(struct sysv_made *m, const IpcShmEntry *e, struct err *err)
{
	char name[96];
	int r;

	sysv_name(SYSV_SHM, e->desc, name, sizeof(name));
	if (!e->has_in_pagemaps || !e->in_pagemaps)
		return err_unsupported(err, "%s was saved by an old version, which this one does not read",
			name);
	r = find(m, e, name, err);
	if (r == 0)
		r = make(m, e, name, err);
	return r < 0 ? err_while(err, "restoring %s", name) : 0;
}
