// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who is who: builds the world's tree (depth first) from the stopped processes, finds out which
 * kernel objects they share, refuses what lives outside.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "dump/ctx.h"
#include "image/journal.h"
#include "kernel/kcmp.h"
#include "kernel/proc_stat.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

/* ---- the tree ---- */

struct kin {
	struct proc_stat stat;
	size_t first_child, next; /* 1 + index, 0 none; children in reverse order of finding */
};

static int read_kin(struct dump *d, struct kin *kin, struct err *err)
{
	for (size_t i = 0; i < d->subjects.n; i++) {
		const struct subject *s = &d->subjects.at[i];
		auto_free char *text = NULL;
		int r = io_slurpf(&text, NULL, "/proc/%d/stat", s->pid);

		if (r < 0)
			return err_sysn(err, -r, "cannot read /proc/%d/stat", s->pid);
		r = proc_stat_parse(text, &kin[i].stat, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int link_kin(struct dump *d, struct kin *kin, struct err *err)
{
	struct table index = { 0 };
	int r = 0;

	for (size_t i = 0; i < d->subjects.n; i++)
		table_put(&index, (uint64_t)d->subjects.at[i].pid, &kin[i]);
	/* from the last: each list comes out in the order of finding */
	for (size_t i = d->subjects.n; i-- > 1 && r == 0;) {
		struct kin *parent = table_get(&index, (uint64_t)kin[i].stat.ppid);

		if (!parent) {
			r = err_target(err, ESRCH,
				"task %d was handed to process %d outside the tree while the "
				"tree was being stopped; dump that tree or try again",
				d->subjects.at[i].pid, kin[i].stat.ppid);
			break;
		}
		kin[i].next = parent->first_child;
		parent->first_child = i + 1;
	}
	table_done(&index);
	return r;
}

static int cmp_tid(const void *a, const void *b)
{
	const struct tracee *x = a, *y = b;

	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

static void name_threads(struct subject *s, struct task *t)
{
	size_t first = s->leader_dead ? 1 : 0; /* place of the first live thread in t->threads */
	size_t sorted = s->leader_dead ? 0 : 1; /* the leader stays in front */

	for (size_t i = 0; i < s->n_tracees; i++) /* the leader first, the others in order */
		if (s->tracees[i].tid == s->pid && i) {
			struct tracee leader = s->tracees[i];

			s->tracees[i] = s->tracees[0];
			s->tracees[0] = leader;
		}
	qsort(s->tracees + sorted, s->n_tracees - sorted, sizeof(*s->tracees), cmp_tid);
	for (size_t i = 0; i < s->n_tracees; i++) {
		t->threads[first + i].tid = s->tracees[i].tid;
		t->threads[first + i].real = s->tracees[i].tid;
	}
}

static enum task_state state_of(const struct subject *s)
{
	if (s->zombie)
		return TASK_DEAD;
	return s->tracees[0].group_stopped ? TASK_STOPPED : TASK_ALIVE;
}

static TaskCoreEntry *new_tc(struct world *w, const struct kin *k, enum task_state state)
{
	TaskCoreEntry *tc = arena_msg(w->arena, TaskCoreEntry, task_core_entry);

	tc->task_state = state;
	tc->exit_code = state == TASK_DEAD ? (uint32_t)k->stat.exit_code : 0;
	tc->flags = k->stat.flags;
	tc->comm = arena_strdup(w->arena, k->stat.comm);
	return tc;
}

static int add_task(struct dump *d, const struct kin *kin, size_t i, struct task *parent,
	struct err *err)
{
	struct subject *s = &d->subjects.at[i];
	const struct kin *k = &kin[i];
	size_t n = s->zombie ? 1 : s->n_tracees + s->leader_dead;
	struct task *t;
	CoreEntry *core;
	int r = world_add_task(d->world, parent, s->pid, n, &t, err);

	if (r < 0)
		return r;
	s->task = t;
	s->start = k->stat.starttime;
	s->before.uffd = -1;
	t->real = s->pid;
	t->pgid = k->stat.pgrp;
	t->sid = k->stat.session;
	t->state = state_of(s);
	t->leader_dead = s->leader_dead;
	core = t->threads[0].core;
	core->mtype = CORE_ENTRY__MARCH__X86_64;
	core->tc = new_tc(d->world, k, t->state);
	if (t->state == TASK_STOPPED) {
		core->tc->has_stop_signo = true;
		core->tc->stop_signo = (uint32_t)s->tracees[0].stop_signal;
	}
	if (s->leader_dead) {
		t->extra->has_leader_dead = t->extra->leader_dead = true;
		t->extra->has_leader_status = true;
		t->extra->leader_status = (uint32_t)k->stat.exit_code;
	}
	if (!s->zombie)
		name_threads(s, t);
	for (size_t c = k->first_child; c && r == 0; c = kin[c - 1].next)
		r = add_task(d, kin, c - 1, t, err);
	return r;
}

/* Subjects in the same order as world.tasks. */
static void reorder(struct dump *d)
{
	struct subjects sorted = { 0 };

	for (size_t i = 0; i < d->world->n_tasks; i++)
		vec_push(&sorted, (struct subject){ 0 });
	vec_each(s, &d->subjects)
		sorted.at[s->task->index] = *s;
	vec_done(&d->subjects);
	d->subjects = sorted;
}

int dump_tree(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	struct kin *kin = calloc(d->subjects.n, sizeof(*kin));
	int r;

	if (!kin)
		return err_nomem(err);
	r = read_kin(d, kin, err);
	if (r == 0)
		r = link_kin(d, kin, err);
	if (r == 0)
		r = add_task(d, kin, 0, NULL, err);
	free(kin);
	if (r == 0)
		reorder(d);
	return r;
}

static int check_sessions(struct dump *d, struct err *err)
{
	const struct task *root = d->world->root;

	if (root->sid != root->pid && !d->o->shell_job)
		return err_unsupported(err,
			"task %d (%s) belongs to session %d, whose leader is outside the tree; "
			"use --shell-job if it was started from a shell", root->pid,
			task_comm(root), root->sid);
	return 0;
}

/* ---- what is shared ---- */

static int cmp_object(const void *a, const void *b, void *type)
{
	const struct subject *x = *(const struct subject *const *)a;
	const struct subject *y = *(const struct subject *const *)b;
	int r = kcmp_objects(x->tracees[0].tid, y->tracees[0].tid, *(enum kcmp_type *)type, 0, 0);

	return r == 1 ? -1 : r == 2;
}

static uint32_t *id_field(TaskKobjIdsEntry *ids, enum kcmp_type type)
{
	switch (type) {
	case KCMP_VM:
		return &ids->vm_id;
	case KCMP_FILES:
		return &ids->files_id;
	case KCMP_FS:
		return &ids->fs_id;
	default:
		return &ids->sighand_id;
	}
}

static const char *kcmp_name(enum kcmp_type type)
{
	return type == KCMP_VM ? "address space" : "table of signal handlers";
}

/* Equal objects get equal numbers, from 2 on (1 is torpor's own). */
static int number_objects(struct subject **alive, size_t n, enum kcmp_type type, struct err *err)
{
	uint32_t id = 1;

	qsort_r(alive, n, sizeof(*alive), cmp_object, &type);
	for (size_t i = 0; i < n; i++) {
		bool same = i && cmp_object(&alive[i - 1], &alive[i], &type) == 0;

		if (same && (type == KCMP_VM || type == KCMP_SIGHAND))
			return err_unsupported(err,
				"tasks %d (%s) and %d (%s) are two processes with one %s, which "
				"cannot be restored", alive[i - 1]->pid,
				task_comm(alive[i - 1]->task), alive[i]->pid,
				task_comm(alive[i]->task), kcmp_name(type));
		id += !same;
		*id_field(alive[i]->task->ids, type) = id;
	}
	return 0;
}

static int number_all(struct dump *d, struct err *err)
{
	static const enum kcmp_type types[] = { KCMP_VM, KCMP_FILES, KCMP_FS, KCMP_SIGHAND };
	struct subject **alive = calloc(d->subjects.n, sizeof(*alive));
	size_t n = 0;
	int r = 0;

	if (!alive)
		return err_nomem(err);
	vec_each(s, &d->subjects)
		if (!s->zombie)
			alive[n++] = s;
	for (size_t i = 0; i < sizeof(types) / sizeof(*types) && r == 0; i++)
		r = number_objects(alive, n, types[i], err);
	free(alive);
	return r;
}

/* Threads can have their own ones of what all of a process share (unshare(2)). */
static int check_threads(const struct subject *s, struct err *err)
{
	static const struct {
		enum kcmp_type type;
		const char *what;
	} shared[] = {
		{ KCMP_FILES, "a table of descriptors" },
		{ KCMP_FS, "a working directory, root and umask" },
	};

	for (size_t i = 1; i < s->n_tracees; i++)
		for (size_t k = 0; k < sizeof(shared) / sizeof(*shared); k++)
			if (kcmp_objects(s->tracees[0].tid, s->tracees[i].tid, shared[k].type, 0, 0) > 0)
				return err_unsupported(err, "thread %d of task %d (%s) has %s of its own, "
					"which this version cannot save", s->tracees[i].tid, s->pid,
					task_comm(s->task), shared[k].what);
	return 0;
}

/* ---- namespaces ---- */

static const struct {
	const char *file, *what;
	uint32_t id; /* number of torpor's own */
	bool per_thread; /* setns(2) and unshare(2) concern one thread and ask for nothing else */
} spaces[] = {
	{ "pid", "pid", 1, false }, { "net", "net", 2, true }, { "ipc", "ipc", 3, true },
	{ "uts", "uts", 4, true }, { "time", "time", 5, false }, { "mnt", "mount", 6, false },
	{ "user", "user", 7, false }, { "cgroup", "cgroup", 8, true },
};

enum { SPACES = sizeof(spaces) / sizeof(*spaces) };

static int ns_inode(pid_t tid, const char *file, uint64_t *ret)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", tid, file);
	if (stat(path, &st) < 0)
		return -errno;
	*ret = st.st_ino;
	return 0;
}

/* 0: a kernel without this kind. */
static void own_spaces(uint64_t ret[SPACES])
{
	for (size_t i = 0; i < SPACES; i++)
		if (ns_inode(getpid(), spaces[i].file, &ret[i]) < 0)
			ret[i] = 0;
}

static int check_space(const struct subject *s, size_t thread, size_t i, uint64_t ours, struct err *err)
{
	pid_t tid = s->tracees[thread].tid;
	uint64_t theirs = 0;

	if (ns_inode(tid, spaces[i].file, &theirs) < 0)
		return err_sys(err, "cannot look at the %s namespace of task %d", spaces[i].what, tid);
	if (ours == theirs)
		return 0;
	/* such a thread mostly comes back in a moment */
	if (thread)
		return err_busy(err, "thread %d of task %d (%s) is in another %s namespace than torpor, "
			"which this version cannot save", tid, s->pid, task_comm(s->task),
			spaces[i].what);
	return err_unsupported(err, "task %d (%s) lives in another %s namespace than torpor, which "
		"this version cannot save", s->pid, task_comm(s->task), spaces[i].what);
}

/* Namespaces are torpor's own or refused; there is one number for each. */
static int check_spaces(const struct subject *s, const uint64_t own[SPACES], struct err *err)
{
	int r = 0;

	for (size_t t = 0; t < s->n_tracees; t++)
		for (size_t i = 0; i < SPACES && r == 0; i++)
			if (own[i] && (!t || spaces[i].per_thread))
				r = check_space(s, t, i, own[i], err);
	return r;
}

static void set_space_ids(TaskKobjIdsEntry *ids)
{
	ids->has_pid_ns_id = ids->has_net_ns_id = ids->has_ipc_ns_id = ids->has_uts_ns_id = true;
	ids->has_mnt_ns_id = ids->has_user_ns_id = ids->has_cgroup_ns_id = true;
	ids->has_time_ns_id = true;
	ids->pid_ns_id = spaces[0].id;
	ids->net_ns_id = spaces[1].id;
	ids->ipc_ns_id = spaces[2].id;
	ids->uts_ns_id = spaces[3].id;
	ids->time_ns_id = spaces[4].id;
	ids->mnt_ns_id = spaces[5].id;
	ids->user_ns_id = spaces[6].id;
	ids->cgroup_ns_id = spaces[7].id;
}

static TaskKobjIdsEntry *new_ids(struct world *w)
{
	TaskKobjIdsEntry *ids = arena_msg(w->arena, TaskKobjIdsEntry, task_kobj_ids_entry);

	ids->vm_id = ids->files_id = ids->fs_id = ids->sighand_id = 1;
	set_space_ids(ids);
	return ids;
}

/* ---- the head of the set ---- */

static int fill_inventory(struct dump *d, const char *run_id, struct err *err)
{
	struct world *w = d->world;
	InventoryEntry *inv = arena_msg(w->arena, InventoryEntry, inventory_entry);

	inv->img_version = 2;
	inv->has_fdinfo_per_id = inv->fdinfo_per_id = true;
	inv->has_ns_per_id = inv->ns_per_id = true;
	inv->root_ids = new_ids(w);
	inv->has_root_cg_set = true;
	inv->root_cg_set = 1;
	inv->has_lsmtype = true;
	inv->lsmtype = LSMTYPE__NO_LSM;
	inv->has_network_lock_method = true;
	inv->plugins_entry = arena_msg(w->arena, PluginsEntry, plugins_entry);
	inv->dump_criu_run_id = arena_strdup(w->arena, run_id);
	w->inventory = inv;
	inv->has_dump_uptime = d->track.again;
	return d->track.again ? track_uptime(&inv->dump_uptime, err) : 0;
}

static uint64_t clock_ns(clockid_t id, struct timespec *ts)
{
	return clock_gettime(id, ts) == 0;
}

/* Clock values of our own time namespace, for a restore into a new one. */
static void fill_clocks(struct world *w)
{
	TimensEntry *te = arena_msg(w->arena, TimensEntry, timens_entry);
	struct timespec mono, boot;

	if (!clock_ns(CLOCK_MONOTONIC, &mono) || !clock_ns(CLOCK_BOOTTIME, &boot))
		return;
	te->monotonic = arena_msg(w->arena, Timespec, timespec);
	te->boottime = arena_msg(w->arena, Timespec, timespec);
	te->monotonic->tv_sec = (uint64_t)mono.tv_sec;
	te->monotonic->tv_nsec = (uint64_t)mono.tv_nsec;
	te->boottime->tv_sec = (uint64_t)boot.tv_sec;
	te->boottime->tv_nsec = (uint64_t)boot.tv_nsec;
	world_add(w, IMG_TIMENS, 0, te);
}

int dump_identity(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	struct journal *journal = NULL;
	uint64_t own[SPACES];
	int r = dump_tree(d, err);

	own_spaces(own);
	if (r == 0)
		r = image_set_journal(d->images, &journal, err);
	if (r == 0)
		r = check_sessions(d, err);
	vec_each(s, &d->subjects) {
		if (r < 0)
			break;
		if (s->zombie)
			continue;
		s->task->ids = new_ids(d->world);
		r = check_spaces(s, own, err);
		if (r == 0)
			r = check_threads(s, err);
	}
	if (r == 0)
		r = number_all(d, err);
	if (r == 0)
		r = fill_inventory(d, journal_run_id(journal), err);
	if (r < 0)
		return r;
	fill_clocks(d->world);
	return 0;
}
