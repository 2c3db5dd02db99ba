// SPDX-License-Identifier: GPL-2.0-or-later
/* Reads an image set into a world. */
#include "snapshot/load.h"
#include "snapshot/snapshot.h"
#include <errno.h>
#include <stdio.h>

/* The only message of an image that has to be there. */
int load_one(struct image_set *set, enum image_id type, unsigned long id, struct arena *a, void *ret,
	struct err *err)
{
	struct image_reader *r;
	char name[64];
	int got = image_open(set, type, id, &r, err);

	if (got < 0)
		return got;
	if (!r)
		return err_set(err, ERR_IMAGE, ENOENT, "image '%s' is missing",
			image_name(type, id, name, sizeof(name)));
	got = image_next(r, a, ret, err);
	if (got == 0)
		got = err_image(err, "image '%s' is empty", image_reader_name(r));
	else if (got > 0 && image_left(r))
		got = err_image(err, "image '%s' has %zu bytes behind its only message",
			image_reader_name(r), image_left(r));
	image_reader_close(r);
	return got < 0 ? got : 0;
}

static int load_inventory(struct image_set *set, struct world *w, struct err *err)
{
	InventoryEntry *inv;
	int r = load_one(set, IMG_INVENTORY, 0, w->arena, &inv, err);

	if (r < 0)
		return r;
	w->inventory = inv;
	if (!inv->has_fdinfo_per_id || !inv->fdinfo_per_id)
		return err_image(err,
			"inventory.img is of a release that is too old: descriptors per task");
	if (!inv->root_ids)
		return err_image(err, "inventory.img has no root_ids");
	return 0;
}

/* ---- tasks ---- */

static int load_thread(struct image_set *set, struct world *w, struct thread *th, struct err *err)
{
	return load_one(set, IMG_CORE, (unsigned long)th->tid, w->arena, &th->core, err);
}

static int learn_state(struct task *t, struct err *err)
{
	const CoreEntry *core = t->threads[0].core;

	if (!core->tc)
		return err_image(err, "core-%d.img has no task part (tc)", t->pid);
	switch (core->tc->task_state) {
	case TASK_ALIVE:
	case TASK_STOPPED:
		t->state = (enum task_state)core->tc->task_state;
		return 0;
	case TASK_DEAD:
	case 6: /* another name for a zombie in old releases */
		t->state = TASK_DEAD;
		return 0;
	default:
		return err_image(err, "core-%d.img has the unknown state %u", t->pid,
			core->tc->task_state);
	}
}

static int load_table(struct image_set *set, struct world *w, struct fdtable *ft, struct err *err)
{
	struct image_reader *r;
	FdinfoEntry *fe;
	int got = image_open(set, IMG_FDINFO, ft->id, &r, err);

	if (got < 0)
		return got;
	if (!r)
		return err_set(err, ERR_IMAGE, ENOENT, "image 'fdinfo-%u.img' is missing", ft->id);
	while ((got = image_next(r, w->arena, &fe, err)) > 0)
		arena_push(w->arena, ft->fds, ft->n_fds, fe);
	image_reader_close(r);
	return got;
}

static int load_alive(struct image_set *set, struct world *w, struct task *t, struct table *tables,
	struct err *err)
{
	unsigned long pid = (unsigned long)t->pid;
	int r = load_one(set, IMG_IDS, pid, w->arena, &t->ids, err);

	if (r == 0)
		r = load_one(set, IMG_MM, pid, w->arena, &t->mm, err);
	if (r == 0)
		r = load_one(set, IMG_FS, pid, w->arena, &t->fs, err);
	if (r < 0)
		return r;
	t->fds = table_get(tables, t->ids->files_id);
	if (t->fds)
		return 0;
	t->fds = arena_new_of(w->arena, struct fdtable);
	t->fds->id = t->ids->files_id;
	t->fds->owner = t;
	table_put(tables, t->ids->files_id, t->fds);
	return load_table(set, w, t->fds, err);
}

static int add_task(struct image_set *set, struct world *w, const PstreeEntry *pe,
	struct task **ret, struct err *err)
{
	struct task *parent = pe->ppid ? world_task(w, (pid_t)pe->ppid) : NULL;
	struct task *t;
	int r;

	if (pe->ppid && !parent)
		return err_image(err, "pstree.img: task %u comes before its parent %u", pe->pid,
			pe->ppid);
	if (pe->pid == 0 || pe->pid > INT32_MAX || pe->n_threads == 0)
		return err_image(err, "pstree.img has a task %u with %zu threads", pe->pid,
			pe->n_threads);
	r = world_add_task(w, parent, (pid_t)pe->pid, pe->n_threads, &t, err);
	if (r < 0)
		return r;
	t->pgid = (pid_t)pe->pgid;
	t->sid = (pid_t)pe->sid;
	for (size_t i = 1; i < t->n_threads; i++) {
		if (pe->threads[i] == 0 || pe->threads[i] > INT32_MAX)
			return err_image(err, "pstree.img: task %u has a thread %u", pe->pid,
				pe->threads[i]);
		t->threads[i].tid = (pid_t)pe->threads[i];
	}
	*ret = t;
	return load_thread(set, w, &t->threads[0], err);
}

static int load_task(struct image_set *set, struct world *w, const PstreeEntry *pe,
	struct table *tables, struct err *err)
{
	struct task *t;
	int r = add_task(set, w, pe, &t, err);

	if (r == 0)
		r = learn_state(t, err);
	if (r < 0)
		return r;
	if (!task_is_alive(t)) {
		t->n_threads = 1;
		return 0;
	}
	for (size_t i = 1; i < t->n_threads && r == 0; i++)
		r = load_thread(set, w, &t->threads[i], err);
	if (r == 0)
		r = load_alive(set, w, t, tables, err);
	return r;
}

static int load_tree(struct image_set *set, struct world *w, struct err *err)
{
	struct table tables = { 0 };
	struct image_reader *r;
	PstreeEntry *pe;
	int got = image_open(set, IMG_PSTREE, 0, &r, err);

	if (got < 0)
		return got;
	if (!r)
		return err_set(err, ERR_IMAGE, ENOENT, "image 'pstree.img' is missing");
	while ((got = image_next(r, w->arena, &pe, err)) > 0) {
		got = load_task(set, w, pe, &tables, err);
		if (got < 0)
			break;
	}
	if (got == 0 && !w->root)
		got = err_image(err, "pstree.img is empty");
	image_reader_close(r);
	table_done(&tables);
	return got;
}

/* ---- the rest ---- */

static int load_payload(struct image_reader *r, struct world *w, struct entry *e,
	enum image_id type, struct err *err)
{
	size_t len = snapshot_payload_len(type, e->msg);
	void *bytes;

	if (!len)
		return 0;
	if (len > image_left(r))
		return err_image(err, "image '%s' ends in the middle of a payload of %zu bytes",
			image_reader_name(r), len);
	bytes = arena_alloc(w->arena, len);
	e->payload = bytes;
	e->payload_len = len;
	return image_payload(r, bytes, len, err);
}

static int load_list(struct image_set *set, struct world *w, enum image_id type, struct err *err)
{
	struct image_reader *r;
	void *msg;
	int got = image_open(set, type, 0, &r, err);

	if (got < 0 || !r)
		return got;
	while ((got = image_next(r, w->arena, &msg, err)) > 0) {
		if (type == IMG_FILES)
			got = world_add_file(w, msg, err);
		else
			got = load_payload(r, w, world_add(w, type, 0, msg), type, err);
		if (got < 0)
			break;
	}
	image_reader_close(r);
	return got;
}

static int load_lists(struct image_set *set, struct world *w, struct err *err)
{
	const unsigned elsewhere = IMGF_TASK | IMGF_RAW | IMGF_OLD | IMGF_SERVICE | IMGF_SET |
		IMGF_NSID;
	int r = 0;

	for (int type = 0; type < IMG_COUNT && r == 0; type++)
		if (!(image_types[type].flags & elsewhere) && type != IMG_TORPOR_STATE)
			r = load_list(set, w, (enum image_id)type, err);
	return r;
}

static void take_extra(struct task *t, TorporTaskEntry *e)
{
	struct table tids = { 0 };

	task_each_thread(th, t)
		table_put(&tids, (uint64_t)th->tid, th);
	for (size_t i = 0; i < e->n_threads; i++) {
		struct thread *th = table_get(&tids, e->threads[i]->tid);

		if (th)
			th->extra = e->threads[i];
	}
	table_done(&tids);
	t->extra = e;
	t->leader_dead = e->has_leader_dead && e->leader_dead;
}

static int load_extras(struct image_set *set, struct world *w, struct err *err)
{
	struct image_reader *r;
	TorporTaskEntry *e;
	int got = image_open(set, IMG_TORPOR_STATE, 0, &r, err);

	if (got < 0 || !r)
		return got;
	while ((got = image_next(r, w->arena, &e, err)) > 0) {
		struct task *t = world_task(w, (pid_t)e->pid);

		if (!t || !task_is_alive(t)) {
			got = err_image(err, "torpor-state speaks of a task %u that does not live",
				e->pid);
			break;
		}
		take_extra(t, e);
	}
	image_reader_close(r);
	return got;
}

int snapshot_load(struct image_set *set, struct world *w, struct err *err)
{
	int r = load_inventory(set, w, err);

	if (r == 0)
		r = load_tree(set, w, err);
	if (r == 0)
		r = load_lists(set, w, err);
	if (r == 0)
		r = load_extras(set, w, err);
	return r < 0 ? r : load_old_forms(set, w, err);
}
