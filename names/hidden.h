/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that are hidden by a mount: their name is right, but something is mounted on a folder of
 * it. They are reached through a copy of the mount they lie on, in which nothing covers them
 * (open_tree(2), since 5.2).
 */
#pragma once
#include "base/err.h"
#include "names/handle.h"
#include <sys/stat.h>

/*
 * The point of a mount by which path leads to the file of st, into the arena of the caller; NULL if
 * there is none.
 */
const char *hidden_find(struct handle_space *s, const char *path, const struct stat *st);
/* Opens path below the mount at point; -errno. */
int hidden_open(const char *point, const char *path, int flags) must_use;
