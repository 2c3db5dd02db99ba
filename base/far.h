/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls on files that may lie on a file system that hangs, in a time in which nobody may hang:
 * while the target stands still. Between far_begin() and far_end() a child makes them in our place;
 * it has our descriptors (CLONE_FILES) and memory of its own, and what it learns comes back over a
 * shared page. When one of them is not answered in time, the child is left alone with it and all
 * that follow fail with ETIMEDOUT at once. Otherwise, and in our children, they are made directly.
 *
 * As the calls of that name: -1 and errno. FUSE and network file systems ask even at close(2).
 */
#pragma once
#include "base/err.h"
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/types.h>

/* timeout_s seconds for each call; 0: for ever. */
int far_begin(unsigned timeout_s, struct err *err) must_use;
void far_end(void);
/* The path of what did not answer, until the end of torpor; NULL: everything did. */
const char *far_hangs(void);

int far_fstat(int fd, struct stat *ret);
int far_fstatat(int dirfd, const char *path, struct stat *ret, int flags);
int far_fstatfs(int fd, struct statfs *ret);
int far_open(const char *path, int flags);
int far_access(const char *path, int mode);
int far_linkat(int olddir, const char *old, const char *path, int flags);
int far_unlink(const char *path);
/* At most FAR_DATA bytes. */
ssize_t far_pread(int fd, void *buf, size_t len, off_t at);
/* All of len: 0, or -EIO at an early end, or -errno, as io_pread_all(). */
int far_pread_all(int fd, void *buf, size_t len, off_t at) must_use;
off_t far_lseek(int fd, off_t at, int whence);
int far_close(int fd);

enum { FAR_DATA = 64 * 1024 };

static inline void cleanup_far(int *fd)
{
	if (*fd >= 0)
		far_close(*fd);
}

#define auto_far __attribute__((cleanup(cleanup_far)))
