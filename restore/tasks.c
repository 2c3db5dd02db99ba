// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a task and its threads are, apart from memory: facets, threads, descriptors. Facets tell
 * their tapes in the order of phases; this file only walks them.
 */
#include "kinds/mem/mm.h"
#include "kinds/task/task.h"
#include "restore/ctx.h"
#include <errno.h>
#include <string.h>

struct husk *restore_find_husk(void *ctx, const struct task *t)
{
	struct restore *rs = ctx;

	return task_is_alive(t) && rs->husk_lives[t->index] ? husk_of(rs, t) : NULL;
}

static int connect_descriptors(struct restore *rs, struct err *err)
{
	int r = file_store_connect(rs->files, err);

	world_each_task(t, rs->world) {
		if (!task_is_alive(t) || t->fds->owner != t || r < 0)
			continue;
		r = file_store_tell(rs->files, husk_of(rs, t), t, err);
		if (r < 0)
			return err_while(err, "connecting the descriptors of task %d (%s)", t->pid,
				task_comm(t));
	}
	return r;
}

static int install_descriptors(struct restore *rs, struct err *err)
{
	int r = 0;

	world_each_task(t, rs->world) {
		if (!task_is_alive(t) || t->fds->owner != t || r < 0)
			continue;
		r = file_store_install(rs->files, &rs->queue, husk_of(rs, t), t, err);
		if (r == 0)
			r = husk_settle_many(&rs->queue, err);
	}
	return r < 0 ? r : husk_settle(&rs->queue, err);
}

static int set_folders(struct restore *rs, struct err *err)
{
	int r = 0;

	world_each_task(t, rs->world) {
		if (!task_is_alive(t) || r < 0)
			continue;
		r = file_store_set_fs(rs->files, &rs->queue, husk_of(rs, t), t, err);
		if (r == 0)
			r = husk_settle_many(&rs->queue, err);
	}
	return r < 0 ? r : husk_settle(&rs->queue, err);
}

/* Every process and thread exists: descriptors may refer to them. */
int restore_descriptors(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	int r = install_descriptors(rs, err);

	r = r < 0 ? r : file_store_join(rs->files, err);
	r = r < 0 ? r : connect_descriptors(rs, err);
	r = r < 0 ? r : set_folders(rs, err);
	return r < 0 ? r : file_store_arm(rs->files, err);
}

static struct arise arise_of(struct restore *rs, const struct thread *th)
{
	return (struct arise){ .world = rs->world, .thread = th, .tid = th->real,
		.tgid = husk_of(rs, th->task)->pid, .options = rs->o, .ours = &rs->ours };
}

/* Threads that run (not a dead leader) have facets of their own; the leader has the task's. */
static bool facet_wanted(const struct facet *f, const struct thread *th)
{
	bool leader = th == &th->task->threads[0];

	if (f->scope == PER_TASK)
		return leader;
	return !leader || !th->task->leader_dead;
}

/* A thread whose tape of some phases waits to be played. */
struct telling {
	struct restore *rs;
	const struct thread *th;
	enum phase first, last;
};

static int telling_failed(const struct thread *th, struct err *err)
{
	return err_while(err, "restoring thread %d of task %d (%s)", th->tid, th->task->pid,
		task_comm(th->task));
}

/* What is set from outside once the calls were played. */
static int set_thread(const struct telling *tell, struct err *err)
{
	struct arise a = arise_of(tell->rs, tell->th);
	int r = 0;

	for (enum phase p = tell->first; p <= tell->last; p++)
		for (size_t f = 0; facets[f] && r == 0; f++)
			if (facets[f]->phase == p && facets[f]->set &&
				facet_wanted(facets[f], tell->th))
				r = facets[f]->set(&a, err);
	return r;
}

static int telling_after(void *ctx, const struct tape *tape, int played, struct err *err)
{
	struct telling *tell = ctx;
	int r = played < 0 ? played : set_thread(tell, err);

	if (r < 0)
		r = telling_failed(tell->th, err);
	free(tell);
	return r;
}

/* Queues all calls of phases first..last for one thread, then what is set from outside. */
static int tell_thread(struct restore *rs, const struct thread *th, enum phase first,
	enum phase last, struct err *err)
{
	struct arise a = arise_of(rs, th);
	struct telling *tell = malloc(sizeof(*tell));
	struct tape *tape = tape_new();
	int r = 0;

	if (!tell)
		abort();
	*tell = (struct telling){ .rs = rs, .th = th, .first = first, .last = last };
	for (enum phase p = first; p <= last; p++)
		for (size_t f = 0; facets[f] && r == 0; f++)
			if (facets[f]->phase == p && facets[f]->tell && facet_wanted(facets[f], th))
				r = facets[f]->tell(tape, &a, err);
	if (r == 0) {
		husk_later(&rs->queue, husk_of(rs, th->task), a.tid, tape, telling_after, tell);
		return husk_settle_many(&rs->queue, err);
	}
	tape_free(tape);
	free(tell);
	return telling_failed(th, err);
}

static int finish_memory(struct restore *rs, const struct task *t, struct err *err)
{
	struct mm_build b = { .world = rs->world, .task = t, .husk = husk_of(rs, t),
		.images = rs->images, .files = rs->files,
		.legacies = restore_legacies(rs), .lazy = rs->o->lazy_pages,
		.vdso = &rs->vdso };
	int r = mm_finish(&b, err);

	rs->figures->pages_restored += b.pages_restored;
	return r;
}

int restore_tasks(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	int r = 0;

	world_each_task(t, rs->world) {
		if (!task_is_alive(t) || r < 0)
			continue;
		t->real = t->threads[0].real = husk_of(rs, t)->pid;
		r = tell_thread(rs, &t->threads[0], PHASE_EARLY, PHASE_TASK, err);
	}
	if (r == 0)
		r = husk_settle(&rs->queue, err);
	world_each_task(t, rs->world) {
		if (!task_is_alive(t) || r < 0)
			continue;
		r = finish_memory(rs, t, err);
		if (r == 0)
			r = sysv_tell_undo(rs->ipc, husk_of(rs, t), t, err);
	}
	return r < 0 ? r : sysv_settle(rs->ipc, err);
}

static int make_threads(struct restore *rs, struct task *t, struct err *err)
{
	size_t n = t->n_threads - 1;
	pid_t *tids, *real;
	int r;

	if (!n)
		return 0;
	tids = arena_array(rs->world->arena, 2 * n, sizeof(*tids));
	real = tids + n;
	for (size_t i = 0; i < n; i++)
		tids[i] = t->threads[i + 1].tid;
	r = husk_threads(husk_of(rs, t), tids, n, real, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		t->threads[i + 1].real = real[i];
	return 0;
}

int restore_threads(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	int r = 0;

	world_each_task(t, rs->world)
		if (task_is_alive(t) && r == 0)
			r = make_threads(rs, t, err);
	return r;
}

/* The first threads, which also have what belongs to their tasks, before all others. */
int restore_facets(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	int r = 0;

	world_each_task(t, rs->world)
		if (task_is_alive(t) && r == 0)
			r = tell_thread(rs, &t->threads[0], PHASE_THREAD, PHASE_LAST, err);
	if (r == 0)
		r = husk_settle(&rs->queue, err);
	world_each_task(t, rs->world) {
		if (!task_is_alive(t))
			continue;
		for (size_t i = 1; i < t->n_threads && r == 0; i++)
			r = tell_thread(rs, &t->threads[i], PHASE_THREAD, PHASE_LAST, err);
	}
	return r < 0 ? r : husk_settle(&rs->queue, err);
}
