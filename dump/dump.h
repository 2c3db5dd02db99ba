/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Saving a tree of tasks. */
#pragma once
#include "base/stage.h"
#include "options/options.h"
#include "pages/pages.h"

/* What a successful dump says about itself. */
struct dump_figures {
	size_t tasks, threads;
	uint64_t image_bytes;
	uint64_t freezing_us, frozen_us, total_us;
	struct page_stats pages;
};

/*
 * Saves the tree of o->tree into images_dirfd; the tasks are killed afterwards, or left running or
 * stopped as the options say. After a failure they run on and no complete image set is left.
 */
int dump_run(const struct options *o, int images_dirfd, int workdir_fd, stage_watch *watch,
	void *watch_data, struct dump_figures *ret, struct err *err) must_use;
/*
 * Saves only the memory of the tree, for a dump that is to come; the tasks run on, and are stopped
 * only while pages are looked for. Page contents are read afterwards: what is written meanwhile is
 * saved again by the next dump.
 */
int pre_dump_run(const struct options *o, int images_dirfd, int workdir_fd, stage_watch *watch,
	void *watch_data, struct dump_figures *ret, struct err *err) must_use;
