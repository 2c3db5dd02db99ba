/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `dump` and `pre-dump`: runs it, writes its statistics and says its figures. */
#include "dump/dump.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/figures.h"
#include "cmd/leftovers.h"
#include "snapshot/stats.h"

static DumpStatsEntry stats_of(const struct dump_figures *f)
{
	DumpStatsEntry stats = DUMP_STATS_ENTRY__INIT;

	stats.freezing_time = stats_time(f->freezing_us);
	stats.frozen_time = stats_time(f->frozen_us);
	stats.memdump_time = stats_time(f->pages.memdump_us);
	stats.memwrite_time = stats_time(f->pages.memwrite_us);
	stats.pages_scanned = f->pages.scanned;
	stats.pages_skipped_parent = f->pages.skipped_parent;
	stats.pages_written = f->pages.written;
	stats.pages_lazy = f->pages.lazy;
	stats.shpages_scanned = f->pages.shared_scanned;
	stats.shpages_written = f->pages.shared_written;
	stats.shpages_skipped_parent = f->pages.shared_skipped_parent;
	stats.has_irmap_resolve = stats.has_page_pipes = stats.has_page_pipe_bufs = true;
	stats.has_shpages_scanned = stats.has_shpages_skipped_parent = true;
	stats.has_shpages_written = true;
	return stats;
}

static void print_people(const struct dump_figures *f, const char *done)
{
	printf("%s ", done);
	print_count(stdout, f->tasks, "task");
	fputs(", ", stdout);
	print_count(stdout, f->threads, "thread");
	fputs(", ", stdout);
	print_size(stdout, f->image_bytes);
	fputs(" in ", stdout);
	print_seconds(stdout, f->total_us);
	fputs(", frozen ", stdout);
	print_seconds(stdout, f->frozen_us);
	putchar('\n');
}

static void print_json(const struct dump_figures *f, int images_fd)
{
	printf("{\"ok\": true, \"tasks\": %zu, \"threads\": %zu, \"image_bytes\": %lu, "
	       "\"pages_scanned\": %lu, \"pages_written\": %lu, \"pages_skipped_parent\": %lu, "
	       "\"freezing_us\": %lu, "
	       "\"frozen_us\": %lu, \"total_us\": %lu, \"left\": ",
		f->tasks, f->threads, (unsigned long)f->image_bytes,
		(unsigned long)f->pages.scanned, (unsigned long)f->pages.written,
		(unsigned long)f->pages.skipped_parent,
		(unsigned long)f->freezing_us, (unsigned long)f->frozen_us,
		(unsigned long)f->total_us);
	print_left(stdout, images_fd, true);
	puts("}");
}

/* How the two are said. */
struct kind_of_dump {
	const char *verb, *done;
	int (*run)(const struct options *o, int images_dirfd, int workdir_fd, stage_watch *watch,
		void *watch_data, struct dump_figures *ret, struct err *err);
};

static int run(const struct call *call, const struct kind_of_dump *kind, struct err *err)
{
	const struct options *o = call->o;
	struct progress progress = progress_begin(o, kind->verb);
	struct dump_figures f = { 0 };
	DumpStatsEntry stats;
	int r;

	r = kind->run(o, call->images_fd, call->work_fd, progress_stage, &progress, &f, err);
	progress_end(&progress);
	if (r < 0)
		return r;
	stats = stats_of(&f);
	stats_save_dump(call->work_fd, &stats);
	log_info("%s complete: tasks %zu, threads %zu, frozen %lu us", kind->verb, f.tasks, f.threads,
		(unsigned long)f.frozen_us);
	if (o->json)
		print_json(&f, call->images_fd);
	else if (wants_figures(o))
		print_people(&f, kind->done);
	if (o->display_stats)
		stats_print_dump(stdout, &stats);
	if (!o->json && !o->as_criu)
		print_left(stdout, call->images_fd, false);
	return 0;
}

int cmd_dump(const struct call *call, struct err *err)
{
	return run(call, &(struct kind_of_dump){ "dump", "dumped", dump_run }, err);
}

int cmd_pre_dump(const struct call *call, struct err *err)
{
	return run(call, &(struct kind_of_dump){ "pre-dump", "saved memory of", pre_dump_run }, err);
}
