/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See names/sibling.h. */
#include "names/sibling.h"
#include "base/cleanup.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

enum { SEEN_FOLDER = 910, NAMES_MAX = 1 << 18 };

static uint64_t folder_key(const struct stat *folder)
{
	return table_key(table_key(SEEN_FOLDER, folder->st_dev), folder->st_ino);
}

static uint64_t inode_key(uint64_t folder, uint64_t ino)
{
	return table_key(table_key(folder, SEEN_FOLDER), ino);
}

static void read_folder(struct table *seen, struct arena *arena, DIR *d, uint64_t folder)
{
	struct dirent *de;

	for (int n = 0; n < NAMES_MAX && (de = readdir(d)); n++)
		table_put(seen, inode_key(folder, de->d_ino), arena_strdup(arena, de->d_name));
}

const char *sibling_find(struct table *seen, struct arena *arena, const char *path,
	const struct stat *st)
{
	const char *slash = strrchr(path, '/'), *name;
	auto_free char *dir = slash ? strndup(path, (size_t)(slash - path)) : NULL;
	auto_dir DIR *d = dir ? opendir(*dir ? dir : "/") : NULL;
	struct stat folder, now;
	uint64_t key;

	if (!d || fstat(dirfd(d), &folder) < 0 || folder.st_dev != st->st_dev)
		return NULL;
	key = folder_key(&folder);
	if (!table_get(seen, key)) {
		table_put(seen, key, seen);
		read_folder(seen, arena, d, key);
	}
	name = table_get(seen, inode_key(key, st->st_ino));
	if (!name || fstatat(dirfd(d), name, &now, AT_SYMLINK_NOFOLLOW) < 0 ||
		now.st_dev != st->st_dev || now.st_ino != st->st_ino)
		return NULL;
	return arena_printf(arena, "%s/%s", dir, name);
}
