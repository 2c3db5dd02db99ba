/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frozen control groups of both versions (Documentation/admin-guide/cgroup-v2.rst: cgroup.freeze;
 * cgroup-v1/freezer-subsystem.rst).
 */
#pragma once
#include "base/parse.h"
#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct frozen_group {
	char folder[PATH_MAX];
	const char *file; /* in it, to thaw it by */
};

/*
 * Whether the group of a task is frozen, or one above it. False also where the group cannot be seen:
 * outside of our mounts or our cgroup namespace.
 */
bool frozen_group_of(pid_t pid, struct frozen_group *ret);

/* The path in the freezer's hierarchy, in a text of /proc/PID/cgroup (cgroups(7)); false: none. */
bool freezer_path(const char *text, struct cursor *ret);
