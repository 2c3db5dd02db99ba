/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes a world the way other readers of these images expect it: which images there are even when
 * they say nothing, what stands in them for a zombie, one image per descriptor table however many
 * tasks share it.
 */
#include "snapshot/snapshot.h"

/* Finishes in any case; the first failure counts. */
static int finish(struct image_writer *w, int r, struct err *err)
{
	int f = image_finish(w, r < 0 ? NULL : err);

	return r < 0 ? r : f;
}

static int put_one(struct image_set *set, enum image_id type, unsigned long id, const void *msg,
	struct err *err)
{
	struct image_writer *w;
	int r = image_create(set, type, id, &w, err);

	if (r < 0)
		return r;
	return finish(w, image_put(w, msg, err), err);
}

static PstreeEntry *pstree_of(struct world *w, const struct task *t)
{
	PstreeEntry *pe = arena_msg(w->arena, PstreeEntry, pstree_entry);

	pe->pid = (uint32_t)t->pid;
	pe->ppid = t->parent ? (uint32_t)t->parent->pid : 0;
	pe->pgid = (uint32_t)t->pgid;
	pe->sid = (uint32_t)t->sid;
	pe->n_threads = t->n_threads;
	pe->threads = arena_array(w->arena, t->n_threads, sizeof(*pe->threads));
	/* other writers put [0] for a zombie */
	for (size_t i = 0; i < t->n_threads && task_is_alive(t); i++)
		pe->threads[i] = (uint32_t)t->threads[i].tid;
	return pe;
}

static int save_pstree(struct world *w, struct image_set *set, struct err *err)
{
	struct image_writer *iw;
	int r = image_create(set, IMG_PSTREE, 0, &iw, err);

	if (r < 0)
		return r;
	world_each_task(t, w)
		if (r == 0)
			r = image_put(iw, pstree_of(w, t), err);
	return finish(iw, r, err);
}

static int save_table(struct image_set *set, const struct fdtable *ft, struct err *err)
{
	struct image_writer *iw;
	int r = image_create(set, IMG_FDINFO, ft->id, &iw, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ft->n_fds && r == 0; i++)
		r = image_put(iw, ft->fds[i], err);
	return finish(iw, r, err);
}

static int save_task(struct image_set *set, const struct task *t, struct err *err)
{
	unsigned long pid = (unsigned long)t->pid;
	int r = 0;

	task_each_thread(th, t)
		if (r == 0)
			r = put_one(set, IMG_CORE, (unsigned long)th->tid, th->core, err);
	if (r < 0 || !task_is_alive(t))
		return r;
	r = put_one(set, IMG_IDS, pid, t->ids, err);
	if (r == 0)
		r = put_one(set, IMG_MM, pid, t->mm, err);
	if (r == 0)
		r = put_one(set, IMG_FS, pid, t->fs, err);
	if (r == 0 && t->fds->owner == t)
		r = save_table(set, t->fds, err);
	return r;
}

static int put_entry(struct image_writer *iw, const struct entry *e, struct err *err)
{
	int r = image_put(iw, e->msg, err);

	return r < 0 ? r : image_put_payload(iw, e->payload, e->payload_len, err);
}

/* Entries with the same number stand together and in one file. */
static int save_list(struct world *w, struct image_set *set, enum image_id type, struct err *err)
{
	const struct entry_list *list = &w->entries[type];
	bool numbered = image_types[type].flags & IMGF_NSID;
	struct image_writer *iw = NULL;
	unsigned long id = 0;
	int r = 0;

	for (size_t i = 0; i < list->n && r == 0; i++) {
		const struct entry *e = list->at[i];

		if (!e->msg || e->streamed)
			continue;
		if (iw && numbered && e->id != id) {
			r = image_finish(iw, err);
			iw = NULL;
		}
		if (r == 0 && !iw)
			r = image_create(set, type, e->id, &iw, err);
		id = e->id;
		if (r == 0)
			r = put_entry(iw, e, err);
	}
	return finish(iw, r, err);
}

/* Readers expect files.img and seccomp.img, if only with nothing in them. */
static int save_lists(struct world *w, struct image_set *set, struct err *err)
{
	int r = 0;

	if (!w->entries[IMG_SECCOMP].n)
		world_add(w, IMG_SECCOMP, 0, arena_msg(w->arena, SeccompEntry, seccomp_entry));
	for (int type = 0; type < IMG_COUNT && r == 0; type++) {
		unsigned flags = image_types[type].flags;

		if (flags & (IMGF_TASK | IMGF_RAW | IMGF_OLD | IMGF_SERVICE | IMGF_SET) ||
			type == IMG_TORPOR_STATE)
			continue;
		r = save_list(w, set, (enum image_id)type, err);
	}
	return r;
}

/* A message that holds nothing but its number is not worth writing. */
static size_t said(const void *msg)
{
	return protobuf_c_message_get_packed_size(msg);
}

static bool gather_extra(struct world *w, struct task *t)
{
	TorporTaskEntry *e = t->extra;
	TorporTaskEntry bare = TORPOR_TASK_ENTRY__INIT;
	TorporThreadEntry bare_thread = TORPOR_THREAD_ENTRY__INIT;

	e->has_leader_dead = e->leader_dead = t->leader_dead;
	e->threads = NULL;
	e->n_threads = 0;
	task_each_thread(th, t) {
		th->extra->tid = (uint32_t)th->tid;
		bare_thread.tid = th->extra->tid;
		if (said(th->extra) > said(&bare_thread))
			arena_push(w->arena, e->threads, e->n_threads, th->extra);
	}
	bare.pid = e->pid;
	return said(e) > said(&bare);
}

static int save_extras(struct world *w, struct image_set *set, struct err *err)
{
	struct image_writer *iw = NULL;
	int r = 0;

	world_each_task(t, w) {
		if (!task_is_alive(t) || !gather_extra(w, t))
			continue;
		if (!iw)
			r = image_create(set, IMG_TORPOR_STATE, 0, &iw, err);
		if (r == 0)
			r = image_put(iw, t->extra, err);
		if (r < 0)
			break;
	}
	return finish(iw, r, err);
}

int snapshot_save(struct world *w, struct image_set *set, struct err *err)
{
	int r = save_pstree(w, set, err);

	world_each_task(t, w)
		if (r == 0)
			r = save_task(set, t, err);
	if (r == 0)
		r = save_lists(w, set, err);
	return r < 0 ? r : save_extras(w, set, err);
}
