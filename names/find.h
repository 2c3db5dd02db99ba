/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which name leads to an open file, seen from torpor's own root. */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

enum name_state {
	NAME_HERE, /* the path leads to this very file */
	NAME_GONE, /* no name at all is left */
	NAME_ELSEWHERE, /* not by the path, but the file has other names or is out of reach */
};

/*
 * link is the text of /proc/PID/fd/N (proc_pid_fd(5)), st what fstat(2) says of the file. ret_path
 * gets the name without " (deleted)". any_device: another node with the same device number is
 * good enough for devices.
 */
enum name_state name_find(const char *link, const struct stat *st, bool any_device,
	char ret_path[PATH_MAX]);
