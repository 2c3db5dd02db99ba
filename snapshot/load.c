/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reads an image set into a world. Only what makes the world whole is verified here (image there,
 * parsed, of a known kind); whether it makes sense is snapshot_check()'s question.
 */
#include "snapshot/load.h"
#include "image/limits.h"
#include "snapshot/snapshot.h"
#include <errno.h>
#include <stdio.h>

struct loader {
	struct image_set *set;
	struct world *w;
	struct table tables; /* files_id -> struct fdtable */
	size_t n_threads; /* of all tasks */
};

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
	if (inv->img_version == 0)
		return err_image(err, "this is a pre-dump, which cannot be restored: a dump goes on from it "
			"(--prev-images-dir)");
	if (!inv->has_fdinfo_per_id || !inv->fdinfo_per_id)
		return err_image(err,
			"inventory.img is of a release that is too old: descriptors per task");
	if (!inv->root_ids)
		return err_image(err, "inventory.img has no root_ids");
	return 0;
}

/* ---- tasks ---- */

static int learn_state(const CoreEntry *core, pid_t pid, enum task_state *ret, struct err *err)
{
	if (!core->tc)
		return err_image(err, "core-%d.img has no task part (tc)", pid);
	switch (core->tc->task_state) {
	case TASK_ALIVE:
	case TASK_STOPPED:
		*ret = (enum task_state)core->tc->task_state;
		return 0;
	case TASK_DEAD:
	case 6: /* another name for a zombie in old releases */
		*ret = TASK_DEAD;
		return 0;
	default:
		return err_image(err, "core-%d.img has the unknown state %u", pid,
			core->tc->task_state);
	}
}

static int load_table(struct loader *l, struct task *t, struct err *err)
{
	struct fdtable *ft = table_get(&l->tables, t->ids->files_id);
	struct image_reader *r;
	FdinfoEntry *fe;
	int got;

	t->fds = ft;
	if (ft)
		return 0;
	ft = t->fds = arena_new_of(l->w->arena, struct fdtable);
	ft->id = t->ids->files_id;
	ft->owner = t;
	table_put(&l->tables, ft->id, ft);
	got = image_open(l->set, IMG_FDINFO, ft->id, &r, err);
	if (got == 0 && !r)
		return err_set(err, ERR_IMAGE, ENOENT, "image 'fdinfo-%u.img' is missing", ft->id);
	if (got < 0)
		return got;
	while ((got = image_next(r, l->w->arena, &fe, err)) > 0)
		arena_push(l->w->arena, ft->fds, ft->n_fds, fe);
	image_reader_close(r);
	return got;
}

static int load_alive(struct loader *l, struct task *t, struct err *err)
{
	struct arena *a = l->w->arena;
	unsigned long pid = (unsigned long)t->pid;
	int r = 0;

	for (size_t i = 1; i < t->n_threads && r == 0; i++)
		r = load_one(l->set, IMG_CORE, (unsigned long)t->threads[i].tid, a,
			&t->threads[i].core, err);
	if (r == 0)
		r = load_one(l->set, IMG_IDS, pid, a, &t->ids, err);
	if (r == 0)
		r = load_one(l->set, IMG_MM, pid, a, &t->mm, err);
	if (r == 0)
		r = load_one(l->set, IMG_FS, pid, a, &t->fs, err);
	return r < 0 ? r : load_table(l, t, err);
}

static bool is_id(uint32_t id)
{
	return id > 0 && id <= INT32_MAX;
}

/* What stands in a zombie's list of threads means nothing; other writers leave garbage there. */
static int set_threads(struct task *t, const PstreeEntry *pe, struct err *err)
{
	for (size_t i = 1; i < t->n_threads; i++) {
		if (!is_id(pe->threads[i]))
			return err_image(err, "pstree.img: task %u has a thread %u", pe->pid,
				pe->threads[i]);
		t->threads[i].tid = (pid_t)pe->threads[i];
	}
	return 0;
}

static int check_pstree(struct loader *l, const PstreeEntry *pe, struct err *err)
{
	if (!is_id(pe->pid))
		return err_image(err, "pstree.img has a task %u", pe->pid);
	if (pe->ppid && (!is_id(pe->ppid) || !world_task(l->w, (pid_t)pe->ppid)))
		return err_image(err, "pstree.img: task %u comes before its parent %u", pe->pid,
			pe->ppid);
	if (pe->pgid > INT32_MAX || pe->sid > INT32_MAX)
		return err_image(err, "pstree.img: task %u has process group %u and session %u",
			pe->pid, pe->pgid, pe->sid);
	return 0;
}

static int load_task(struct loader *l, const PstreeEntry *pe, struct err *err)
{
	struct task *t, *parent = pe->ppid ? world_task(l->w, (pid_t)pe->ppid) : NULL;
	enum task_state state = TASK_ALIVE;
	size_t n_threads;
	CoreEntry *core;
	int r = check_pstree(l, pe, err);

	if (r == 0)
		r = load_one(l->set, IMG_CORE, pe->pid, l->w->arena, &core, err);
	if (r == 0)
		r = learn_state(core, (pid_t)pe->pid, &state, err);
	if (r < 0)
		return r;
	n_threads = state == TASK_DEAD ? 1 : pe->n_threads;
	l->n_threads += n_threads;
	if (!n_threads || l->n_threads > IMAGE_IDS_MAX)
		return err_image(err, "pstree.img: task %u has %zu threads", pe->pid, n_threads);
	r = world_add_task(l->w, parent, (pid_t)pe->pid, n_threads, &t, err);
	if (r < 0)
		return r;
	t->pgid = (pid_t)pe->pgid;
	t->sid = (pid_t)pe->sid;
	t->state = state;
	t->threads[0].core = core;
	r = set_threads(t, pe, err);
	return r < 0 || state == TASK_DEAD ? r : load_alive(l, t, err);
}

static int load_tree(struct loader *l, struct err *err)
{
	struct image_reader *r;
	PstreeEntry *pe;
	int got = image_open(l->set, IMG_PSTREE, 0, &r, err);

	if (got < 0)
		return got;
	if (!r)
		return err_set(err, ERR_IMAGE, ENOENT, "image 'pstree.img' is missing");
	while ((got = image_next(r, l->w->arena, &pe, err)) > 0) {
		got = load_task(l, pe, err);
		if (got < 0)
			break;
	}
	if (got == 0 && !l->w->root)
		got = err_image(err, "pstree.img is empty");
	image_reader_close(r);
	return got;
}

/* ---- lists and numbered images ---- */

/* Messages of a System V queue follow their count, each with its size and its padded text. */
static int skip_ipc_messages(struct image_reader *r, uint32_t n, struct arena *a, struct err *err)
{
	IpcMsg *m;

	for (uint32_t i = 0; i < n; i++) {
		int got = image_next_as(r, &ipc_msg__descriptor, a, &m, err);

		if (got == 0)
			return err_image(err, "image '%s' lacks messages", image_reader_name(r));
		if (got > 0)
			got = image_skip(r, ((size_t)m->msize + 7) & ~(size_t)7, err);
		if (got < 0)
			return got;
	}
	return 0;
}

/* The length of this payload is only known by walking it. */
static int measure_ipc_messages(struct image_set *set, unsigned long id, off_t from, uint32_t n,
	size_t *ret, struct err *err)
{
	struct arena *a = arena_new();
	struct image_reader *r;
	int e = image_open(set, IMG_IPCNS_MSG, id, &r, err);

	if (e == 0 && !r)
		e = err_image(err, "image 'ipcns-msg-%lu.img' vanished", id);
	if (e == 0)
		e = image_skip(r, (size_t)(from - image_offset(r)), err);
	if (e == 0)
		e = skip_ipc_messages(r, n, a, err);
	if (e == 0)
		*ret = (size_t)(image_offset(r) - from);
	image_reader_close(r);
	arena_free(a);
	return e;
}

static int load_payload(struct loader *l, struct image_reader *r, struct entry *e,
	enum image_id type, struct err *err)
{
	size_t len = snapshot_payload_len(type, e->msg);
	void *bytes;
	int got = 0;

	if (type == IMG_IPCNS_MSG)
		got = measure_ipc_messages(l->set, e->id, image_offset(r),
			((const IpcMsgEntry *)e->msg)->qnum, &len, err);
	if (got < 0 || !len)
		return got;
	got = image_payload_keep(r, len, l->w->arena, &bytes, err);
	if (got < 0)
		return got;
	e->payload = bytes;
	e->payload_len = len;
	return 0;
}

/* 1: there may be more of them. */
static int load_entry(struct loader *l, struct image_reader *r, enum image_id type,
	unsigned long id, struct err *err)
{
	unsigned flags = image_types[type].flags;
	struct entry *e;
	void *msg;
	int got = image_next(r, l->w->arena, &msg, err);

	if (got <= 0)
		return got;
	if (type == IMG_FILES) {
		got = load_file(l->w, msg, err);
		return got < 0 ? got : 1;
	}
	if (type == IMG_TORPOR_FILES) {
		got = world_add_extra(l->w, msg, err);
		return got < 0 ? got : 1;
	}
	e = world_add(l->w, type, id, msg);
	if (flags & IMGF_STREAM) {
		e->streamed = true;
		return 0;
	}
	got = load_payload(l, r, e, type, err);
	if (got < 0)
		return got;
	if (flags & IMGF_ONE && image_left(r))
		return err_image(err, "image '%s' has %zu bytes behind its only message",
			image_reader_name(r), image_left(r));
	return 1;
}

static int load_list(struct loader *l, enum image_id type, unsigned long id, struct err *err)
{
	struct image_reader *r;
	int got = image_open(l->set, type, id, &r, err);

	if (got < 0 || !r)
		return got;
	do
		got = load_entry(l, r, type, id, err);
	while (got > 0);
	image_reader_close(r);
	return got;
}

static int load_lists(struct loader *l, struct err *err)
{
	const unsigned elsewhere = IMGF_TASK | IMGF_RAW | IMGF_OLD | IMGF_SERVICE | IMGF_SET;
	struct image_list found;
	int r = image_set_scan(l->set, &found, err);

	vec_each(f, &found)
		if (r == 0 && !(image_types[f->type].flags & elsewhere) &&
			f->type != IMG_TORPOR_STATE)
			r = load_list(l, f->type, f->id, err);
	vec_done(&found);
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

static int load_extras(struct loader *l, struct err *err)
{
	struct image_reader *r;
	TorporTaskEntry *e;
	int got = image_open(l->set, IMG_TORPOR_STATE, 0, &r, err);

	if (got < 0 || !r)
		return got;
	while ((got = image_next(r, l->w->arena, &e, err)) > 0) {
		struct task *t = is_id(e->pid) ? world_task(l->w, (pid_t)e->pid) : NULL;

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
	struct loader l = { .set = set, .w = w };
	int r = load_inventory(set, w, err);

	if (r == 0)
		r = load_tree(&l, err);
	if (r == 0)
		r = load_lists(&l, err);
	if (r == 0)
		r = load_extras(&l, err);
	table_done(&l.tables);
	return r < 0 ? r : load_old_forms(set, w, err);
}
