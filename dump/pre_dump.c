// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A pre-dump, from top to bottom. The tasks are stopped only from "seize" to "resume".
 *
 *   open      an empty image set
 *   parent    previous images, tracker, tracker process
 *   server    the connection for pages, where they do not go into the set
 *   seize     every thread of the tree is stopped by ptrace
 *   areas     who is who; which areas have pages
 *   track     what is known of each task's memory since the previous images
 *   pick      which pages are to be saved; from here on every write is tracked
 *   resume    the tasks run on
 *   pages     contents: as they are by now; what is written from now on is saved by the next dump
 *   keep      the tracker process takes over
 *   commit    the inventory, on disk
 */
#include "base/io.h"
#include "dump/ctx.h"
#include "image/journal.h"
#include "pages/filter.h"
#include <string.h>

/* No more than other readers expect of a pre-dump, and the name of this one. */
static int pre_dump_inventory(struct dump *d, struct err *err)
{
	InventoryEntry *inv = arena_msg(d->world->arena, InventoryEntry, inventory_entry);
	struct journal *journal;
	int r = image_set_journal(d->images, &journal, err);

	if (r < 0)
		return r;
	inv->img_version = 0;
	inv->has_pre_dump_mode = true;
	inv->pre_dump_mode = strcmp(d->o->pre_dump_mode, "read") ? 1 : 2;
	inv->plugins_entry = arena_msg(d->world->arena, PluginsEntry, plugins_entry);
	inv->dump_criu_run_id = arena_strdup(d->world->arena, journal_run_id(journal));
	inv->has_dump_uptime = true;
	d->world->inventory = inv;
	return track_uptime(&inv->dump_uptime, err);
}

static int pre_dump_areas(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = dump_tree(d, err);

	if (r == 0)
		r = dump_await_file_systems(d, err);
	if (r == 0)
		r = pre_dump_inventory(d, err);
	vec_each(s, &d->subjects) {
		if (r < 0)
			break;
		if (s->zombie)
			continue;
		r = mm_look_memory(d->world, s->task, subject_voice(s)->tid, d->files, err);
		if (r < 0)
			return err_while(err, "looking at the memory of task %d (%s)", s->pid,
				task_comm(s->task));
	}
	return r;
}

static int pre_dump_resume(void *ctx, struct err *err)
{
	struct dump *d = ctx;

	dump_unseize(d);
	d->frozen_us = clock_us() - d->seized_us;
	return 0;
}

static int pre_dump_pages(void *ctx, struct err *err)
{
	return dump_save_pages(ctx, true, err);
}

static const struct stage pre_dump_stages[] = {
	{ .name = "open", .run = dump_open, .undo = dump_discard },
	{ .name = "parent", .run = track_prepare, .undo = track_unprepare },
	{ .name = "server", .run = dump_connect, .undo = dump_disconnect,
		.wanted = dump_uses_server },
	{ .name = "seize", .run = dump_seize, .undo = dump_unseize },
	{ .name = "areas", .run = pre_dump_areas },
	{ .name = "track", .run = track_tasks },
	{ .name = "pick", .run = dump_pick },
	{ .name = "resume", .run = pre_dump_resume },
	{ .name = "filters", .run = dump_filters },
	{ .name = "pages", .run = pre_dump_pages },
	{ .name = "confirm", .run = dump_confirm, .wanted = dump_uses_server },
	{ .name = "keep", .run = track_keep, .undo = track_unkeep },
	{ .name = "commit", .run = dump_commit_set },
	{ .name = NULL },
};

static int nothing_more(struct dump *d, struct err *err)
{
	return 0;
}

int pre_dump_run(const struct options *o, int images_dirfd, int workdir_fd, stage_watch *watch,
	void *watch_data, struct dump_figures *ret, struct err *err)
{
	struct dump_lasting lasting;
	struct dump d = { .o = o, .images_dirfd = images_dirfd, .workdir_fd = workdir_fd,
		.lasting = &lasting, .track = { .again = true } };
	int r;

	dump_lasting_init(&lasting, o);
	r = dump_run_stages("pre-dump", pre_dump_stages, &d, nothing_more, watch, watch_data, ret,
		err);
	dump_lasting_done(&lasting);
	return r;
}
