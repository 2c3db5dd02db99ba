/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A file that has lost the name it was opened by may have another one beside it: sem_open(3), for
 * one, opens a temporary name, links the file to the wanted one and removes the first.
 */
#pragma once
#include "base/arena.h"
#include "base/table.h"
#include <sys/stat.h>

/*
 * Another name of the file in the folder of `path`, in the arena; NULL if there is none. A folder
 * is read once for all its files; `seen` remembers what is in it.
 */
const char *sibling_find(struct table *seen, struct arena *arena, const char *path,
	const struct stat *st);
