/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Building and asking the world; its invariants stand in world.h. */
#include "model/world.h"
#include <errno.h>

struct world *world_new(void)
{
	struct arena *a = arena_new();
	struct world *w = arena_new_of(a, struct world);

	w->arena = a;
	return w;
}

void world_free(struct world *w)
{
	if (!w)
		return;
	table_done(&w->files);
	table_done(&w->pids);
	table_done(&w->extras);
	table_done(&w->keyed);
	arena_free(w->arena);
}

static void task_link(struct task *parent, struct task *t)
{
	t->parent = parent;
	if (parent->last_child)
		parent->last_child->next_sibling = t;
	else
		parent->first_child = t;
	parent->last_child = t;
}

int world_add_task(struct world *w, struct task *parent, pid_t pid, size_t n_threads,
	struct task **ret, struct err *err)
{
	struct arena *a = w->arena;
	struct task *t;

	if (table_get(&w->pids, (uint64_t)pid))
		return err_set(err, ERR_IMAGE, EEXIST, "pid %d stands twice in the process tree",
			pid);
	if (!parent && w->root)
		return err_set(err, ERR_IMAGE, EEXIST, "tasks %d and %d are both the root",
			w->root->pid, pid);
	t = arena_new_of(a, struct task);
	t->index = w->n_tasks;
	t->pid = pid;
	t->state = TASK_ALIVE;
	t->n_threads = n_threads;
	t->threads = arena_array(a, n_threads, sizeof(*t->threads));
	t->extra = arena_msg(a, TorporTaskEntry, torpor_task_entry);
	t->extra->pid = (uint32_t)pid;
	for (size_t i = 0; i < n_threads; i++) {
		struct thread *th = &t->threads[i];

		th->task = t;
		th->tid = i == 0 ? pid : 0;
		th->core = arena_msg(a, CoreEntry, core_entry);
		th->extra = arena_msg(a, TorporThreadEntry, torpor_thread_entry);
	}
	if (parent)
		task_link(parent, t);
	else
		w->root = t;
	arena_push(a, w->tasks, w->n_tasks, t);
	table_put(&w->pids, (uint64_t)pid, t);
	*ret = t;
	return 0;
}

struct task *world_task(const struct world *w, pid_t pid)
{
	return table_get(&w->pids, (uint64_t)pid);
}

/* NULL: messages of this image are not looked up. */
static const uint32_t *key_of(enum image_id image, const void *msg)
{
	switch (image) {
	case IMG_TTY_INFO:
		return &((const TtyInfoEntry *)msg)->id;
	case IMG_BPFMAP_DATA:
		return &((const BpfmapDataEntry *)msg)->map_id;
	default:
		return NULL;
	}
}

const struct entry *world_entry(const struct world *w, enum image_id image, uint32_t key)
{
	return table_get(&w->keyed, table_key(image, key));
}

struct entry *world_add(struct world *w, enum image_id image, unsigned long id, void *msg)
{
	const uint32_t *key = msg ? key_of(image, msg) : NULL;
	struct entry_list *list = &w->entries[image];
	struct entry *e = arena_new_of(w->arena, struct entry);

	e->id = id;
	e->msg = msg;
	arena_push(w->arena, list->at, list->n, e);
	if (key && !world_entry(w, image, *key))
		table_put(&w->keyed, table_key(image, *key), e);
	return e;
}

int world_add_file(struct world *w, FileEntry *fe, struct err *err)
{
	const FileEntry *old = table_get(&w->files, fe->id);
	const bool tun = fe->type == FD_TYPES__TUNF;

	if (old && tun == (old->type == FD_TYPES__TUNF))
		return err_set(err, ERR_IMAGE, EEXIST, "file id %u stands twice in files.img",
			fe->id);
	if (!old || tun)
		table_put(&w->files, fe->id, fe);
	world_add(w, IMG_FILES, 0, fe);
	return 0;
}

FileEntry *world_file(const struct world *w, uint32_t id)
{
	return table_get(&w->files, id);
}

const TorporFileEntry *world_extra(const struct world *w, uint32_t file_id)
{
	return table_get(&w->extras, file_id);
}

int world_add_extra(struct world *w, TorporFileEntry *e, struct err *err)
{
	if (table_get(&w->extras, e->id))
		return err_set(err, ERR_IMAGE, EEXIST, "file id %u stands twice in torpor-files", e->id);
	table_put(&w->extras, e->id, e);
	world_add(w, IMG_TORPOR_FILES, 0, e);
	return 0;
}

TorporFileEntry *world_want_extra(struct world *w, uint32_t file_id)
{
	TorporFileEntry *e = table_get(&w->extras, file_id);

	if (e)
		return e;
	e = arena_msg(w->arena, TorporFileEntry, torpor_file_entry);
	e->id = file_id;
	table_put(&w->extras, file_id, e);
	world_add(w, IMG_TORPOR_FILES, 0, e);
	return e;
}

struct thread *task_live_thread(const struct task *t)
{
	if (!task_is_alive(t))
		return NULL;
	if (!t->leader_dead)
		return &t->threads[0];
	return t->n_threads > 1 ? &t->threads[1] : NULL;
}

const char *task_comm(const struct task *t)
{
	const TaskCoreEntry *tc = t->threads[0].core->tc;

	return tc && tc->comm ? tc->comm : "?";
}
