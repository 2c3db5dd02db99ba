/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Old forms of images: files of each kind in an image of its own, parts of a task in images of
 * their own (docs/FORMAT.md). Everything after loading sees the current form only.
 */
#include "snapshot/load.h"

/* ---- files of each kind in an image of its own ---- */

static int old_files(struct image_set *set, struct world *w, const struct file_member *m,
	struct err *err)
{
	struct image_reader *r;
	char *msg;
	int got = image_open(set, m->image, 0, &r, err);

	if (got < 0 || !r)
		return got;
	while ((got = image_next(r, w->arena, &msg, err)) > 0) {
		FileEntry *fe = arena_msg(w->arena, FileEntry, file_entry);

		fe->type = m->type;
		fe->id = *(uint32_t *)(msg + m->id);
		*(void **)((char *)fe + m->at) = msg;
		got = load_file(w, fe, err);
		if (got < 0)
			break;
	}
	image_reader_close(r);
	return got;
}

/* Forms that were old when this format was young; better a refusal than half a file. */
static int refuse_ancient(struct image_set *set, enum image_id type, unsigned long id,
	struct err *err)
{
	struct image_reader *r;
	int e = image_open(set, type, id, &r, err);

	if (e == 0 && r && image_left(r))
		e = err_set(err, ERR_UNSUPPORTED, 95,
			"image '%s' was written by a release that is too old",
			image_reader_name(r));
	image_reader_close(r);
	return e;
}

static int old_file_images(struct image_set *set, struct world *w, struct err *err)
{
	static const enum image_id ancient[] = { IMG_EVENTPOLL_TFD, IMG_INOTIFY_WD,
		IMG_FANOTIFY_MARK };
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(ancient) / sizeof(*ancient); i++)
		r = refuse_ancient(set, ancient[i], 0, err);
	for (const struct file_member *m = file_members; r == 0 && m->type; m++)
		if (m->image != IMG_COUNT)
			r = old_files(set, w, m, err);
	return r;
}

/* A bit instead of a type. */
static void old_remaps(struct world *w)
{
	const struct entry_list *list = &w->entries[IMG_REMAP_FPATH];

	for (size_t i = 0; i < list->n; i++) {
		RemapFilePathEntry *e = list->at[i]->msg;
		const uint32_t ghost = 1u << 31;

		if (e->has_remap_type)
			continue;
		e->has_remap_type = true;
		e->remap_type = e->remap_id & ghost ? REMAP_TYPE__GHOST : REMAP_TYPE__LINKED;
		e->remap_id &= ~ghost;
	}
}

/* ---- parts of a task in images of their own ---- */

/* All messages of an old per-task image. */
struct messages {
	void **at;
	size_t n;
};

static int old_list(struct image_set *set, struct arena *a, enum image_id type, unsigned long id,
	struct messages *ret, struct err *err)
{
	struct image_reader *r;
	void *msg;
	int got = image_open(set, type, id, &r, err);

	*ret = (struct messages){ 0 };
	if (got < 0 || !r)
		return got;
	while ((got = image_next(r, a, &msg, err)) > 0)
		arena_push(a, ret->at, ret->n, msg);
	image_reader_close(r);
	return got;
}

static int old_actions_and_limits(struct image_set *set, struct world *w, struct task *t,
	struct err *err)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;
	struct messages m;
	int r = 0;

	if (!tc->n_sigactions) {
		r = old_list(set, w->arena, IMG_SIGACT, (unsigned long)t->pid, &m, err);
		tc->sigactions = (SaEntry **)m.at;
		tc->n_sigactions = m.n;
	}
	if (r == 0 && !tc->rlimits) {
		r = old_list(set, w->arena, IMG_RLIMIT, (unsigned long)t->pid, &m, err);
		if (m.n) {
			tc->rlimits = arena_msg(w->arena, TaskRlimitsEntry, task_rlimits_entry);
			tc->rlimits->rlimits = (RlimitEntry **)m.at;
			tc->rlimits->n_rlimits = m.n;
		}
	}
	return r;
}

static int old_timers(struct image_set *set, struct world *w, struct task *t, struct err *err)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;
	struct messages it, posix;
	TaskTimersEntry *timers;
	int r;

	if (tc->timers)
		return 0;
	r = old_list(set, w->arena, IMG_ITIMERS, (unsigned long)t->pid, &it, err);
	if (r == 0)
		r = old_list(set, w->arena, IMG_POSIX_TIMERS, (unsigned long)t->pid, &posix, err);
	if (r < 0 || it.n != 3)
		return r;
	timers = arena_msg(w->arena, TaskTimersEntry, task_timers_entry);
	timers->real = it.at[0];
	timers->virt = it.at[1];
	timers->prof = it.at[2];
	timers->posix = (PosixTimerEntry **)posix.at;
	timers->n_posix = posix.n;
	tc->timers = timers;
	return 0;
}

static int old_queue(struct image_set *set, struct world *w, enum image_id type, pid_t id,
	SignalQueueEntry **queue, struct err *err)
{
	struct messages m;
	int r;

	if (*queue)
		return 0;
	r = old_list(set, w->arena, type, (unsigned long)id, &m, err);
	if (r == 0 && m.n) {
		*queue = arena_msg(w->arena, SignalQueueEntry, signal_queue_entry);
		(*queue)->signals = (SiginfoEntry **)m.at;
		(*queue)->n_signals = m.n;
	}
	return r;
}

static int old_credentials(struct image_set *set, struct world *w, struct task *t, struct err *err)
{
	struct messages m;
	int r;

	if (t->threads[0].core->thread_core && t->threads[0].core->thread_core->creds)
		return 0;
	r = old_list(set, w->arena, IMG_CREDS, (unsigned long)t->pid, &m, err);
	if (r < 0 || !m.n)
		return r;
	task_each_thread(th, t)
		if (th->core->thread_core && !th->core->thread_core->creds)
			th->core->thread_core->creds = m.at[0];
	return 0;
}

/* What was said of a task and is now said of each thread. */
static void old_members(struct task *t)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;

	task_each_thread(th, t) {
		ThreadCoreEntry *c = th->core->thread_core;

		if (!c)
			continue;
		if (!c->comm)
			c->comm = tc->comm;
		if (!c->has_cg_set && tc->has_cg_set) {
			c->has_cg_set = true;
			c->cg_set = tc->cg_set;
		}
		if (!c->has_seccomp_mode && tc->has_old_seccomp_mode) {
			c->has_seccomp_mode = true;
			c->seccomp_mode = tc->old_seccomp_mode;
			c->has_seccomp_filter = tc->has_old_seccomp_filter;
			c->seccomp_filter = tc->old_seccomp_filter;
		}
	}
	tc->has_cg_set = tc->has_old_seccomp_mode = tc->has_old_seccomp_filter = false;
}

static int old_task(struct image_set *set, struct world *w, struct task *t, struct err *err)
{
	TaskCoreEntry *tc = t->threads[0].core->tc;
	int r = old_actions_and_limits(set, w, t, err);

	if (r == 0)
		r = old_timers(set, w, t, err);
	if (r == 0)
		r = old_credentials(set, w, t, err);
	if (r == 0)
		r = old_queue(set, w, IMG_SIGNAL_SHARED, t->pid, &tc->signals_s, err);
	task_each_thread(th, t)
		if (r == 0 && th->core->thread_core)
			r = old_queue(set, w, IMG_SIGNAL_PRIVATE, th->tid,
				&th->core->thread_core->signals_p, err);
	if (r == 0 && !t->mm->n_vmas)
		r = refuse_ancient(set, IMG_VMAS, (unsigned long)t->pid, err);
	old_members(t);
	return r;
}

int load_old_forms(struct image_set *set, struct world *w, struct err *err)
{
	int r = w->entries[IMG_FILES].n ? 0 : old_file_images(set, w, err);

	old_remaps(w);
	world_each_task(t, w)
		if (task_is_alive(t) && r == 0)
			r = old_task(set, w, t, err);
	return r;
}
