/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mounts of a task's mount namespace: /proc/PID/mountinfo (proc_pid_mountinfo(5)). */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include <stdint.h>

struct mount_line {
	int id, parent;
	uint32_t dev; /* kernel's form: major << 20 | minor */
	const char *root, *point, *type; /* unescaped */
};

struct mount_lines {
	struct mount_line *at;
	size_t n;
};

/* Texts live in the arena; a later mount may hide an earlier one at the same point. */
int mountinfo_parse(const char *text, struct arena *a, struct mount_lines *ret) must_use;
/* Of "self" or a pid in digits. */
int mountinfo_read(const char *who, struct arena *a, struct mount_lines *ret, struct err *err) must_use;
