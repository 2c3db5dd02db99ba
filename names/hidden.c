/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See names/hidden.h. */
#include "names/hidden.h"
#include "base/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#define OPEN_TREE_CLOEXEC O_CLOEXEC
#endif

/* What follows the mount's point in the path, NULL if it is not below. */
static const char *below(const char *path, const char *point)
{
	size_t n = strlen(point);

	if (n == 1)
		return path + 1;
	return !strncmp(path, point, n) && path[n] == '/' ? path + n + 1 : NULL;
}

int hidden_open(const char *point, const char *path, int flags)
{
	const char *rest = below(path, point);
	auto_close int tree = -1;
	int fd;

	if (!rest || !*rest)
		return -ENOENT;
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, point, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return -errno;
	fd = openat(tree, rest, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

const char *hidden_find(struct handle_space *s, const char *path, const struct stat *st)
{
	uint32_t dev = (uint32_t)(major(st->st_dev) << 20 | minor(st->st_dev));
	const struct mount_line *m = NULL;

	while ((m = handle_next_mount(s, m))) {
		auto_close int fd = -1;
		struct stat now;

		if (m->dev != dev)
			continue;
		fd = hidden_open(m->point, path, O_PATH | O_NOFOLLOW);
		if (fd >= 0 && fstat(fd, &now) == 0 && now.st_dev == st->st_dev &&
			now.st_ino == st->st_ino)
			return m->point;
	}
	return NULL;
}
