/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing and printing statistics; the files are service images (docs/FORMAT.md). */
#include "snapshot/stats.h"
#include "base/log.h"
#include "image/image.h"

static void save_or_warn(int workdir_fd, enum image_id type, const StatsEntry *entry)
{
	struct err err = ERR_INIT;
	char text[sizeof(err.text) + sizeof(err.trail)];

	if (image_save_alone(workdir_fd, type, entry, &err) < 0)
		log_warn("the statistics are not saved: %s", err_text(&err, text, sizeof(text)));
}

void stats_save_dump(int workdir_fd, const DumpStatsEntry *stats)
{
	DumpStatsEntry copy = *stats;
	StatsEntry entry = STATS_ENTRY__INIT;

	entry.dump = &copy;
	save_or_warn(workdir_fd, IMG_STATS_DUMP, &entry);
}

void stats_save_restore(int workdir_fd, const RestoreStatsEntry *stats)
{
	RestoreStatsEntry copy = *stats;
	StatsEntry entry = STATS_ENTRY__INIT;

	entry.restore = &copy;
	save_or_warn(workdir_fd, IMG_STATS_RESTORE, &entry);
}

static void print_line(FILE *out, const char *what, uint64_t n, const char *unit)
{
	fprintf(out, "%s: %lu%s\n", what, (unsigned long)n, unit);
}

void stats_print_dump(FILE *out, const DumpStatsEntry *s)
{
	fputs("Displaying dump stats:\n", out);
	print_line(out, "Freezing time", s->freezing_time, " us");
	print_line(out, "Frozen time", s->frozen_time, " us");
	print_line(out, "Memory dump time", s->memdump_time, " us");
	print_line(out, "Memory write time", s->memwrite_time, " us");
	print_line(out, "Memory pages scanned", s->pages_scanned, "");
	print_line(out, "Memory pages skipped from parent", s->pages_skipped_parent, "");
	print_line(out, "Memory pages written", s->pages_written, "");
	print_line(out, "Lazy memory pages", s->pages_lazy, "");
}

void stats_print_restore(FILE *out, const RestoreStatsEntry *s)
{
	fputs("Displaying restore stats:\n", out);
	print_line(out, "Pages compared", s->pages_compared, "");
	print_line(out, "Pages skipped COW", s->pages_skipped_cow, "");
	print_line(out, "Pages restored", s->pages_restored, "");
	print_line(out, "Restore time", s->restore_time, " us");
	print_line(out, "Forking time", s->forking_time, " us");
}
