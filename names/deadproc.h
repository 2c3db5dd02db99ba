/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of /proc/PID that are open while the process has ended: they answer ESRCH, or nothing. */
#pragma once
#include "base/err.h"
#include <sys/stat.h>
#include <sys/types.h>

/*
 * Whether path, the text of a descriptor's link without " (deleted)", is such a file; st is of the
 * descriptor, fs_type what statfs(2) says. Returns the pid or 0.
 */
pid_t deadproc_pid(const char *path, long fs_type);
/*
 * Opens path again: a process with this pid (another one, if it is taken) exists while the file is
 * opened. The descriptor is the caller's.
 */
int deadproc_open(pid_t pid, const char *path, int flags, int *ret_fd, struct err *err) must_use;
