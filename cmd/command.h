/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What main prepares for a sub-command, and the sub-commands: each is one function in a file of
 * its name. The working directory is already the work directory and the log is open.
 */
#pragma once
#include "base/err.h"
#include "options/options.h"

struct call {
	struct options *o;
	int images_fd; /* -1 for commands without images */
	int work_fd;
};

/*
 * Exit status of the process (>= 0), or a negative errno with err set, which main prints and logs
 * and turns into exit status 1.
 */
typedef int command_run(const struct call *call, struct err *err);

command_run cmd_dump, cmd_pre_dump, cmd_restore, cmd_check, cmd_show, cmd_plan, cmd_leftovers,
	cmd_keygen, cmd_dedup, cmd_page_server, cmd_lazy_pages, cmd_version, cmd_help;

/* "torpor 0.1.0", or as criu the version of CRIU whose interfaces these are. */
void version_print(FILE *out, bool as_criu);
