// SPDX-License-Identifier: GPL-2.0-or-later
/* What the tasks hold: descriptors, directories, memory. */
#include "dump/ctx.h"
#include "kinds/mem/mm.h"
#include "kinds/sysv.h"
#include "pages/staging.h"
#include <errno.h>

/* A table shared by several tasks (CLONE_FILES) exists once; the first task owns it. */
static int share_tables(struct dump *d)
{
	struct table tables = { 0 };

	vec_each(s, &d->subjects) {
		struct fdtable *ft;

		if (s->zombie)
			continue;
		ft = table_get(&tables, s->task->ids->files_id);
		if (!ft) {
			ft = arena_new_of(d->world->arena, struct fdtable);
			ft->id = s->task->ids->files_id;
			ft->owner = s->task;
			table_put(&tables, ft->id, ft);
		}
		s->task->fds = ft;
	}
	table_done(&tables);
	return 0;
}

int dump_descriptors(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = share_tables(d);

	vec_each(s, &d->subjects) {
		pid_t tid;

		if (s->zombie)
			continue;
		tid = subject_voice(s)->tid;
		r = file_collect_fs(d->files, s->task, tid, err);
		if (r == 0 && s->task->fds->owner == s->task)
			r = file_collect_table(d->files, s->task, tid, err);
		if (r < 0)
			return err_while(err, "looking at the files of task %d (%s)", s->pid,
				task_comm(s->task));
	}
	r = file_collect_finish(d->files, err);
	return r < 0 ? r : sysv_collect(d->files, d->world, err);
}

void dump_forget_descriptors(void *ctx)
{
	struct dump *d = ctx;

	file_collect_undo(d->files);
}

/*
 * Filters learn before the first page, or deleted file, goes through them; what they learn from is
 * taken while the tasks stand still.
 */
int dump_filters(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	struct filter_chain *chain;
	struct mm_samples *samples;
	int r = filter_chain_of(d->images, &chain, err);

	if (r < 0 || !chain || !filter_chain_samples(chain))
		return r;
	samples = mm_samples_new();
	vec_each(s, &d->subjects) {
		if (s->zombie || r < 0)
			continue;
		r = mm_samples_look(samples, s->task, subject_voice(s)->tid, err);
		if (r == -ENOENT || r == -ESRCH) { /* in a pre-dump it may have ended */
			err_clear(err);
			r = 0;
		}
	}
	if (r == 0)
		r = mm_samples_take(samples, chain, err);
	mm_samples_free(samples);
	return r;
}

/*
 * Tasks that run on need not wait for filters. Those that are to be killed must: were the images not
 * to become complete, they run on after all.
 */
static int stage_pages(struct dump *d, struct err *err)
{
	uint64_t bytes = mm_shared_bytes(d->files);
	bool pays = false;
	int r = 0;

	vec_each(s, &d->subjects)
		bytes += s->pages ? mm_pages_bytes(s->pages) : 0;
	if (d->o->leave_running && !d->o->page_server && !d->o->lazy_pages)
		r = page_staging_pays(d->images, bytes, &pays, err);
	return r < 0 || !pays ? r : page_staging_new(d->images, &d->staging, err);
}

int dump_memory(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = dump_pick(d, err);

	if (r == 0)
		r = stage_pages(d, err);
	if (r < 0)
		return r;
	image_set_stage_pages(d->images, d->staging);
	r = dump_save_pages(d, false, err);
	image_set_stage_pages(d->images, NULL);
	return r;
}

bool dump_is_staged(const void *ctx)
{
	return ((const struct dump *)ctx)->staging;
}

int dump_encode(void *ctx, struct err *err)
{
	struct dump *d = ctx;

	return page_staging_drain(d->staging, d->images, &d->pages, err);
}

int dump_pick(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r;

	vec_each(s, &d->subjects) {
		if (s->zombie)
			continue;
		s->before.leave_lazy = d->o->lazy_pages;
		r = mm_pages_pick(d->world, s->task, subject_voice(s)->tid, &s->before, &s->pages,
			err);
		if (r < 0)
			return err_while(err, "looking for the pages of task %d (%s)", s->pid,
				task_comm(s->task));
	}
	return 0;
}

int dump_save_pages(struct dump *d, bool runs_on, struct err *err)
{
	const struct digest_plan shared = track_digests(d, true);
	const struct digest_plan own = track_digests(d, false);
	int r;

	vec_each(s, &d->subjects) {
		if (s->zombie)
			continue;
		r = mm_pages_save(s->pages, runs_on, d->images, d->next_pages_id++,
			own.run_id ? &own : NULL, &d->pages, err);
		if (r < 0)
			return err_while(err, "saving the memory of task %d (%s)", s->pid,
				task_comm(s->task));
	}
	return mm_dump_shared(d->files, d->images, &d->next_pages_id,
		shared.run_id ? &shared : NULL, &d->pages, err);
}
