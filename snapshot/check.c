/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rules that concern more than one room; then the rooms' own, which rely on the former and are
 * only asked when those found no error. Every walk is linear.
 */
#include "snapshot/check.h"
#include "kinds/kind.h"
#include "kinds/lock/locks.h"
#include "names/remap.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PAGE_MASK 4095ull
#define USER_END 0x7ffffffff000ull
#define VSYSCALL 0xffffffffff600000ull

/* ---- identity and tree ---- */

/*
 * One number, one thread. A number that names a group or a session cannot be that of a thread
 * which is no leader: while the group exists the kernel gives its number to nobody else.
 */
static void check_tids(const struct world *w, struct findings *f)
{
	struct table tids = { 0 };

	world_each_task(t, w) {
		task_each_thread(th, t) {
			struct thread *other = table_get(&tids, (uint64_t)th->tid);

			if (other)
				finding_add(f, "id-twice", SEV_ERROR, t->pid,
					"tasks %d and %d both have a thread %d", other->task->pid,
					t->pid, th->tid);
			table_put(&tids, (uint64_t)th->tid, th);
		}
	}
	world_each_task(t, w) {
		const pid_t ids[] = { t->pgid, t->sid };

		for (size_t i = 0; i < 2; i++) {
			const struct thread *th = table_get(&tids, (uint64_t)ids[i]);

			if (th && th != &th->task->threads[0])
				finding_add(f, "id-twice", SEV_ERROR, t->pid,
					"task %d is in %s %d, which is a thread of task %d", t->pid,
					i ? "session" : "process group", ids[i], th->task->pid);
		}
	}
	table_done(&tids);
}

/*
 * A process group never leaves its session (setpgid(2)), and neither does the task with its number,
 * as long as there is the group (setsid(2)). 0: outside of what was saved.
 */
static void check_groups(const struct world *w, struct findings *f)
{
	struct table groups = { 0 };

	world_each_task(t, w) {
		const struct task *first = table_get(&groups, (uint64_t)t->pgid);

		if (!t->pgid)
			continue;
		if (!first)
			table_put(&groups, (uint64_t)t->pgid, t);
		else if (first->sid != t->sid)
			finding_add(f, "tree-group-session", SEV_ERROR, t->pid,
				"tasks %d and %d are in process group %d but in the sessions %d "
				"and %d", first->pid, t->pid, t->pgid, first->sid, t->sid);
	}
	world_each_task(t, w) {
		const struct task *leader = world_task(w, t->pgid);

		if (leader && leader->sid != t->sid && leader->pgid != t->pgid)
			finding_add(f, "tree-group-session", SEV_ERROR, t->pid,
				"task %d is in process group %d of session %d, but task %d is in "
				"session %d", t->pid, t->pgid, t->sid, leader->pid, leader->sid);
	}
	table_done(&groups);
}

static void check_alone_ids(const struct world *w, struct findings *f)
{
	struct table vms = { 0 };

	world_each_task(t, w) {
		struct task *other;

		if (!task_is_alive(t))
			continue;
		other = table_get(&vms, t->ids->vm_id);
		if (other)
			finding_add(f, "vm-shared", SEV_ERROR, t->pid,
				"tasks %d and %d share one address space", other->pid, t->pid);
		table_put(&vms, t->ids->vm_id, t);
	}
	table_done(&vms);
}

static bool same_space(bool has_a, uint32_t a, bool has_b, uint32_t b)
{
	return !has_a || !has_b || a == b;
}

static void check_spaces(const struct world *w, const struct task *t, struct findings *f)
{
	const TaskKobjIdsEntry *x = t->ids, *y = w->inventory->root_ids;
	const struct {
		const char *what;
		bool same;
	} spaces[] = {
#define SPACE(name, what) \
	{ what, same_space(x->has_##name##_ns_id, x->name##_ns_id, y->has_##name##_ns_id, y->name##_ns_id) }
		SPACE(pid, "pid"), SPACE(net, "net"), SPACE(ipc, "ipc"), SPACE(uts, "uts"),
		SPACE(mnt, "mount"), SPACE(user, "user"), SPACE(cgroup, "cgroup"),
		SPACE(time, "time"),
#undef SPACE
	};

	for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++)
		if (!spaces[i].same)
			finding_add(f, "ns-own", SEV_ERROR, t->pid,
				"task %d (%s) has a %s namespace of its own, which this version "
				"cannot restore", t->pid, task_comm(t), spaces[i].what);
}

/* A zombie dies again: by exit(2), or by a signal that kills. */
static void check_zombie(const struct task *t, struct findings *f)
{
	const uint64_t spares = 1ull << SIGCHLD | 1ull << SIGCONT | 1ull << SIGSTOP |
		1ull << SIGTSTP | 1ull << SIGTTIN | 1ull << SIGTTOU | 1ull << SIGURG |
		1ull << SIGWINCH;
	uint32_t signal = t->threads[0].core->tc->exit_code & 0x7f;

	if (signal > 64 || (signal < 64 && spares >> signal & 1))
		finding_add(f, "zombie-status", SEV_ERROR, t->pid,
			"task %d was ended by signal %u, which ends nobody", t->pid, signal);
}

static void check_ids(const struct task *t, struct findings *f)
{
	if (t->pgid < 0 || t->sid < 0)
		finding_add(f, "tree-ids", SEV_ERROR, t->pid,
			"task %d has process group %d and session %d", t->pid, t->pgid, t->sid);
	if (t->sid == t->pid && t->pgid != t->pid)
		finding_add(f, "tree-leader-group", SEV_ERROR, t->pid,
			"task %d leads a session but is in process group %d", t->pid, t->pgid);
	if (t->leader_dead && t->n_threads < 2)
		finding_add(f, "tree-dead-leader", SEV_ERROR, t->pid,
			"task %d has a dead leader and no other thread", t->pid);
}

/* ---- threads ---- */

static void check_thread(const struct thread *th, struct findings *f)
{
	const CoreEntry *c = th->core;
	bool leader = th == &th->task->threads[0];

	if (c->mtype != CORE_ENTRY__MARCH__X86_64)
		finding_add(f, "core-arch", SEV_ERROR, th->task->pid,
			"thread %d was saved on another architecture (%d)", th->tid, c->mtype);
	if (leader && th->task->leader_dead)
		return;
	if (!c->thread_info || !c->thread_info->gpregs)
		finding_add(f, "core-regs", SEV_ERROR, th->task->pid,
			"thread %d has no registers", th->tid);
	if (!c->thread_core)
		finding_add(f, "core-thread", SEV_ERROR, th->task->pid,
			"thread %d has no thread part", th->tid);
	if (!leader && c->tc)
		finding_add(f, "core-tc", SEV_ERROR, th->task->pid,
			"thread %d is no leader but has a task part", th->tid);
}

/* ---- memory ---- */

static bool is_range(const VmaEntry *v)
{
	return v->start < v->end && !((v->start | v->end) & PAGE_MASK) &&
		(v->end <= USER_END || v->start == VSYSCALL);
}

static void check_areas(const struct task *t, struct findings *f)
{
	const uint32_t guard = 0x10000, rights = PROT_READ | PROT_WRITE | PROT_EXEC;
	uint64_t end = 0;

	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (!is_range(v)) {
			finding_add(f, "vma-range", SEV_ERROR, t->pid,
				"task %d has an area from 0x%lx to 0x%lx", t->pid,
				(unsigned long)v->start, (unsigned long)v->end);
			return;
		}
		if (v->prot & ~rights)
			finding_add(f, "vma-rights", SEV_ERROR, t->pid,
				"task %d: the area at 0x%lx has the rights 0x%x", t->pid,
				(unsigned long)v->start, v->prot);
		if (v->status & guard)
			continue;
		if (v->start < end) {
			finding_add(f, "vma-order", SEV_ERROR, t->pid,
				"task %d: the area at 0x%lx begins before the one in front ends",
				t->pid, (unsigned long)v->start);
			return;
		}
		end = v->end;
	}
}

/* ---- references to files ---- */

static void check_file_ref(const struct world *w, const struct task *t, uint32_t id,
	const char *what, struct findings *f)
{
	if (!world_file(w, id))
		finding_add(f, "file-dangling", SEV_ERROR, t->pid,
			"task %d: its %s is file %u, which is not in files.img", t->pid, what, id);
}

/* Anything else must not even be opened: that could wait for a lease. */
static void check_folder(const struct world *w, const struct task *t, uint32_t id, const char *what,
	struct findings *f)
{
	const FileEntry *fe = world_file(w, id);

	check_file_ref(w, t, id, what, f);
	if (fe && (!fe->reg || (fe->reg->has_mode && !S_ISDIR(fe->reg->mode))))
		finding_add(f, "fs-folder", SEV_ERROR, t->pid,
			"task %d: its %s is file %u, which is no directory", t->pid, what, id);
}

/*
 * Whatever is mapped must be readable, and writable where writes reach it (mmap(2)); areas that a
 * child inherits are not mapped again, so the kernel would not always say so.
 */
static bool can_map_file(const VmaEntry *v, const FileEntry *fe)
{
	const uint32_t shared = 0x80;
	bool writes = v->status & shared && v->prot & PROT_WRITE;
	uint32_t mode = v->fdflags & O_ACCMODE;

	if (fe->type != FD_TYPES__REG && fe->type != FD_TYPES__MEMFD)
		return false;
	if (fe->reg && fe->reg->has_mode && (S_ISDIR(fe->reg->mode) || S_ISFIFO(fe->reg->mode)))
		return false;
	if (v->has_fdflags && mode != O_RDWR && (mode != O_RDONLY || writes))
		return false;
	return !(v->pgoff & PAGE_MASK) && v->pgoff <= INT64_MAX - (v->end - v->start);
}

static void check_mapped(const struct world *w, const struct task *t, const VmaEntry *v,
	struct findings *f)
{
	const FileEntry *fe = world_file(w, (uint32_t)v->shmid);

	if (fe && !can_map_file(v, fe))
		finding_add(f, "vma-file", SEV_ERROR, t->pid,
			"task %d: the area at 0x%lx maps file %u of type %d from 0x%lx on, opened in "
			"mode %u with rights %u", t->pid, (unsigned long)v->start, fe->id, fe->type,
			(unsigned long)v->pgoff, v->fdflags & O_ACCMODE, v->prot);
}

static void check_area_files(const struct world *w, const struct task *t, struct findings *f)
{
	const uint32_t socket = 0x800, by_file = 0x40 | 0x80 | socket;

	for (size_t i = 0; i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (!(v->status & by_file))
			continue;
		if (v->shmid > UINT32_MAX)
			finding_add(f, "file-dangling", SEV_ERROR, t->pid,
				"task %d: the area at 0x%lx maps file %lu", t->pid,
				(unsigned long)v->start, (unsigned long)v->shmid);
		else
			check_file_ref(w, t, (uint32_t)v->shmid, "mapped file", f);
		if (v->shmid <= UINT32_MAX && !(v->status & socket))
			check_mapped(w, t, v, f);
	}
}

static void check_table(const struct world *w, const struct task *t, struct findings *f)
{
	struct table fds = { 0 };

	for (size_t i = 0; i < t->fds->n_fds; i++) {
		const FdinfoEntry *e = t->fds->fds[i];
		const FileEntry *fe = world_file(w, e->id);

		if (!fe)
			finding_add(f, "file-dangling", SEV_ERROR, t->pid,
				"task %d: descriptor %u is file %u, which is not in files.img",
				t->pid, e->fd, e->id);
		else if (fe->type != e->type)
			finding_add(f, "file-type", SEV_ERROR, t->pid,
				"task %d: descriptor %u has type %d, file %u has %d", t->pid, e->fd,
				e->type, e->id, fe->type);
		if (e->fd > INT32_MAX || table_get(&fds, e->fd))
			finding_add(f, "fd-twice", SEV_ERROR, t->pid,
				"task %d has descriptor %u twice", t->pid, e->fd);
		table_put(&fds, e->fd, t->fds);
	}
	table_done(&fds);
}

static void check_alive(const struct world *w, const struct task *t, struct findings *f)
{
	check_spaces(w, t, f);
	check_areas(t, f);
	check_file_ref(w, t, t->mm->exe_file_id, "program", f);
	check_folder(w, t, t->fs->cwd_id, "working directory", f);
	check_folder(w, t, t->fs->root_id, "root directory", f);
	check_area_files(w, t, f);
	if (t->fds->owner == t)
		check_table(w, t, f);
	task_each_thread(th, t)
		check_thread(th, f);
}

/* ---- queues of sockets ---- */

static void check_queues(const struct world *w, struct findings *f)
{
	const struct entry_list *list = &w->entries[IMG_SK_QUEUES];

	for (size_t i = 0; i < list->n; i++) {
		const SkPacketEntry *p = list->at[i]->msg;

		if (!world_file(w, p->id_for))
			finding_add(f, "queue-dangling", SEV_ERROR, 0,
				"a packet of %u bytes waits for file %u, which is not in files.img",
				p->length, p->id_for);
		for (size_t k = 0; k < p->n_scm; k++)
			for (size_t j = 0; j < p->scm[k]->n_rights; j++)
				if (!world_file(w, p->scm[k]->rights[j]))
					finding_add(f, "queue-dangling", SEV_ERROR, 0,
						"file %u, which is not in files.img, waits for file %u",
						p->scm[k]->rights[j], p->id_for);
	}
}

/* ---- rooms ---- */

static void check_facets(const struct world *w, const struct task *t, struct findings *f)
{
	task_each_thread(th, t) {
		bool leader = th == &t->threads[0];

		for (size_t i = 0; facets[i]; i++)
			if (facets[i]->check && (facets[i]->scope == PER_TASK ?
							       leader : !leader || !t->leader_dead))
				facets[i]->check(w, th, f);
	}
}

static void check_files(const struct world *w, struct findings *f)
{
	const struct entry_list *list = &w->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const FileEntry *fe = list->at[i]->msg;
		const struct file_kind *k = file_kind_of(fe->type);

		if (!k)
			finding_add(f, "file-kind", SEV_ERROR, 0,
				"file %u is of type %d, which this version cannot restore", fe->id,
				fe->type);
		else if (k->check)
			k->check(w, fe, f);
	}
}

/* ---- names ---- */

/* A restore takes the name away that a link remap leads to: it must be of that form. */
static bool is_link_name(const char *name)
{
	const char *slash = strrchr(name, '/');

	return name[0] == '/' && slash && !strncmp(slash, "/link_remap.", 12);
}

static void check_remaps(const struct world *w, struct findings *f)
{
	const struct entry_list *list = &w->entries[IMG_REMAP_FPATH];

	for (size_t i = 0; i < list->n; i++) {
		const RemapFilePathEntry *e = list->at[i]->msg;
		const FileEntry *link = world_file(w, e->remap_id);

		if (remap_type(e) != REMAP_TYPE__LINKED)
			continue;
		if (!link || !link->reg || !is_link_name(link->reg->name))
			finding_add(f, "remap-link", SEV_ERROR, 0,
				"file %u is reached by file %u, which is no name made by --link-remap",
				e->orig_id, e->remap_id);
	}
}

void snapshot_check(const struct world *w, struct findings *f)
{
	check_tids(w, f);
	check_groups(w, f);
	check_alone_ids(w, f);
	world_each_task(t, w) {
		check_ids(t, f);
		if (task_is_alive(t))
			check_alive(w, t, f);
		else
			check_zombie(t, f);
	}
	check_queues(w, f);
	if (findings_error(f))
		return;
	world_each_task(t, w)
		if (task_is_alive(t))
			check_facets(w, t, f);
	check_remaps(w, f);
	locks_check(w, f);
	check_files(w, f);
}
