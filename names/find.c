/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's link text follows renames; " (deleted)" is appended when the entry it was opened by
 * is gone (fs/d_path.c). A file may really be called "x (deleted)", so the text is tried as it is
 * first.
 */
#include "names/find.h"
#include "base/far.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static bool leads_to(const char *path, const struct stat *st, bool any_device)
{
	struct stat now;
	bool is_device = S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode);

	if (far_fstatat(AT_FDCWD, path, &now, S_ISLNK(st->st_mode) ? AT_SYMLINK_NOFOLLOW : 0) < 0)
		return false;
	if (now.st_dev == st->st_dev && now.st_ino == st->st_ino)
		return true;
	return any_device && is_device && (now.st_mode & S_IFMT) == (st->st_mode & S_IFMT) &&
		now.st_rdev == st->st_rdev;
}

enum name_state name_find(const char *link, const struct stat *st, bool any_device,
	char ret_path[PATH_MAX])
{
	static const char suffix[] = " (deleted)";
	size_t len = strlen(link), cut = sizeof(suffix) - 1;
	bool marked = len > cut && !strcmp(link + len - cut, suffix);

	snprintf(ret_path, PATH_MAX, "%s", link);
	if (link[0] != '/')
		return NAME_ELSEWHERE;
	if (len < PATH_MAX && leads_to(ret_path, st, any_device))
		return NAME_HERE;
	if (marked) {
		ret_path[len - cut] = '\0';
		if (leads_to(ret_path, st, any_device))
			return NAME_HERE;
	}
	/* Some file systems never count a removed directory's links down to 0. */
	if (st->st_nlink == 0 || (marked && S_ISDIR(st->st_mode)))
		return NAME_GONE;
	return NAME_ELSEWHERE;
}
