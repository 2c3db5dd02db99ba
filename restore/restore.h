/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bringing a tree back. */
#pragma once
#include "base/stage.h"
#include "options/options.h"
#include <stdint.h>
#include <sys/types.h>

/* What a successful restore says about itself. */
struct restore_figures {
	pid_t pid; /* root, as this host calls it; a child of ours (of our parent with -S) */
	size_t tasks, threads;
	uint64_t pages_restored, pages_compared, pages_skipped_cow;
	uint64_t forking_us, total_us;
};

/* Afterwards the tasks run (or are stopped, as the options say). After a failure nothing is left. */
int restore_run(const struct options *o, int images_dirfd, int workdir_fd, stage_watch *watch,
	void *watch_data, struct restore_figures *ret, struct err *err) must_use;
/* Waits for the root's end; its wait status. */
int restore_wait(pid_t pid, int *ret_status, struct err *err) must_use;
