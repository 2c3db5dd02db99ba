/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * For who looks at paths that anybody may have written down: all mounts that may hang are asked at
 * once (names/answer.h), and of a path it is told which of those that do not answer it leads to.
 */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "kernel/mountinfo.h"

/* Zeroed: everything answers. */
struct silent {
	const struct mount_line **at;
	size_t n;
};

/*
 * Of our own mounts. Waits timeout_s seconds at most (0: for ever), and only where there is one that
 * does not answer. Result in the arena.
 */
int silent_find(struct arena *a, unsigned timeout_s, struct silent *ret, struct err *err) must_use;
/*
 * The first of them that one meets on the way to a file, links followed as the kernel does (the
 * last part only if `last`); NULL: none. No file on one of them is looked at. A path that is not
 * absolute begins at the working directory.
 */
const struct mount_line *silent_meets(const struct silent *s, const char *path, bool last);
/* Whether something is mounted there that is one of them; point as the kernel calls it. */
bool silent_is_point(const struct silent *s, const char *point);
/* The sentence: "'/x/y' cannot be looked at: the file system of ... does not answer". */
int silent_refuse(const struct mount_line *m, const char *what, const char *path, struct err *err)
	must_use;
