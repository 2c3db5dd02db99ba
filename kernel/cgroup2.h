/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control group (version 2) of a task, as far as the network lock wants to know it. */
#pragma once
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup2 {
	uint64_t id; /* of the group: inode of its folder */
	uint32_t level; /* 1: a child of the root group */
	char folder[PATH_MAX];
};

/* False for tasks in the root group, and where version 2 is not mounted. */
bool cgroup2_of_task(pid_t pid, struct cgroup2 *ret);
/* Whether it or a group above it is frozen; then its tasks do not run, even if they are traced. */
bool cgroup2_is_frozen(const struct cgroup2 *g);
/* Whether all processes in the group and below are ones for which is_ours() is true. */
bool cgroup2_holds_only(const struct cgroup2 *g, bool (*is_ours)(pid_t pid, const void *ctx),
	const void *ctx);
/*
 * Where control groups of a version are mounted: type "cgroup2", or "cgroup" and the controller in
 * option. False: nowhere, or the name does not fit.
 */
bool cgroup_mount(const char *type, const char *option, char *ret, size_t size);
