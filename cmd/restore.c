/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `restore`: runs it, then detaches, waits for the root task, or becomes the program that follows
 * "--". By then the tasks run and no longer depend on this process.
 */
#include "restore/restore.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/figures.h"
#include "snapshot/stats.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static RestoreStatsEntry stats_of(const struct restore_figures *f)
{
	RestoreStatsEntry stats = RESTORE_STATS_ENTRY__INIT;

	stats.pages_compared = f->pages_compared;
	stats.pages_skipped_cow = f->pages_skipped_cow;
	stats.pages_restored = f->pages_restored;
	stats.has_pages_restored = true;
	stats.forking_time = stats_time(f->forking_us);
	stats.restore_time = stats_time(f->total_us);
	return stats;
}

static void print_people(const struct restore_figures *f)
{
	fputs("restored ", stdout);
	print_count(stdout, f->tasks, "task");
	fputs(", ", stdout);
	print_count(stdout, f->threads, "thread");
	fputs(", ", stdout);
	print_size(stdout, f->pages_restored * 4096);
	fputs(" in ", stdout);
	print_seconds(stdout, f->total_us);
	printf(", root task %d\n", f->pid);
}

static void print_json(const struct restore_figures *f)
{
	printf("{\"ok\": true, \"pid\": %d, \"tasks\": %zu, \"threads\": %zu, "
	       "\"pages_restored\": %lu, \"pages_compared\": %lu, \"pages_skipped_cow\": %lu, "
	       "\"forking_us\": %lu, \"total_us\": %lu}\n",
		f->pid, f->tasks, f->threads, (unsigned long)f->pages_restored,
		(unsigned long)f->pages_compared, (unsigned long)f->pages_skipped_cow,
		(unsigned long)f->forking_us, (unsigned long)f->total_us);
}

static void say_figures(const struct call *call, const struct restore_figures *f)
{
	const struct options *o = call->o;
	RestoreStatsEntry stats = stats_of(f);

	stats_save_restore(call->work_fd, &stats);
	log_info("restore complete: tasks %zu, threads %zu, root task %d", f->tasks, f->threads, f->pid);
	if (o->json)
		print_json(f);
	else if (wants_figures(o))
		print_people(f);
	if (o->display_stats)
		stats_print_restore(stdout, &stats);
	fflush(stdout);
}

static int become(char **words, struct err *err)
{
	execvp(words[0], words);
	return err_sys(err, "the tasks run, but '%s' cannot be executed", words[0]);
}

int cmd_restore(const struct call *call, struct err *err)
{
	const struct options *o = call->o;
	struct progress progress = progress_begin(o, "restore");
	struct restore_figures f = { 0 };
	int r, status;

	r = restore_run(o, call->images_fd, call->work_fd, progress_stage, &progress, &f, err);
	progress_end(&progress);
	if (r < 0)
		return r;
	say_figures(call, &f);
	if (o->exec_cmd)
		return become(o->words, err);
	if (o->restore_detached)
		return 0;
	/* how the root task ends is its own affair: the restore was a success */
	r = restore_wait(f.pid, &status, err);
	return r < 0 ? r : 0;
}
