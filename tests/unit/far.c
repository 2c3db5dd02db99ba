// SPDX-License-Identifier: GPL-2.0-or-later
/* base/far.h: a child makes the calls, what it learns is the same, and one that hangs ends all. */
#include "base/far.h"
#include "tests/unit/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool same_file(int fd, const char *path)
{
	struct stat a, b, c;

	return far_fstat(fd, &a) == 0 && fstat(fd, &b) == 0 &&
		far_fstatat(AT_FDCWD, path, &c, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino &&
		a.st_dev == b.st_dev && a.st_size == b.st_size && c.st_ino == b.st_ino;
}

static void test_calls(struct tap *t, const char *path, const char *other)
{
	char self[64], text[16] = "";
	struct statfs a, b;
	int fd = far_open(path, O_RDONLY | O_CLOEXEC);

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	tap_ok(t, fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC, "a descriptor of the child is ours", NULL);
	tap_ok(t, same_file(fd, path), "fstat and fstatat", NULL);
	tap_ok(t, far_fstatfs(fd, &a) == 0 && fstatfs(fd, &b) == 0 && a.f_type == b.f_type, "fstatfs", NULL);
	tap_ok(t, far_pread(fd, text, sizeof(text), 1) == 4 && !strcmp(text, "ello"), "pread", NULL);
	tap_ok(t, far_lseek(fd, 2, SEEK_SET) == 2 && lseek(fd, 0, SEEK_CUR) == 2, "lseek", NULL);
	tap_ok(t, far_linkat(AT_FDCWD, self, other, AT_SYMLINK_FOLLOW) == 0 && access(other, F_OK) == 0,
		"linkat by a link of /proc", NULL);
	tap_ok(t, far_access(other, F_OK) == 0 && far_unlink(other) == 0 && access(other, F_OK) < 0,
		"access and unlink", NULL);
	tap_ok(t, far_access(other, F_OK) < 0 && errno == ENOENT, "errors are told", NULL);
	tap_ok(t, far_close(fd) == 0 && fcntl(fd, F_GETFD) < 0, "close is close here, too", NULL);
	tap_ok(t, far_close(fd) < 0 && errno == EBADF, "and once only", NULL);
}

/* Nobody writes into the fifo: to open it for reading waits for ever. */
static void test_hang(struct tap *t, const char *fifo, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	tap_ok(t, far_open(fifo, O_RDONLY) < 0 && errno == ETIMEDOUT, "what hangs is given up", NULL);
	tap_ok(t, far_hangs() && !strcmp(far_hangs(), fifo), "its name is kept", NULL);
	tap_ok(t, far_fstat(fd, &st) < 0 && errno == ETIMEDOUT, "nothing else is tried", NULL);
	far_end();
	tap_ok(t, far_fstat(fd, &st) == 0, "afterwards all is as before", NULL);
	close(fd);
}

int main(void)
{
	char dir[] = "/tmp/torpor-far-XXXXXX", path[64], other[64], fifo[64];
	struct tap t = { 0 };
	struct err err = ERR_INIT;
	FILE *f;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/file", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	f = fopen(path, "w");
	if (!f || fputs("hello", f) < 0 || fclose(f) != 0 || mkfifo(fifo, 0600) < 0)
		return 1;
	test_calls(&t, path, other);
	tap_ok(&t, far_begin(60, &err) == 0, "a child", &err);
	test_calls(&t, path, other);
	far_end();
	tap_ok(&t, !far_hangs() && far_begin(1, &err) == 0, "another child", &err);
	test_hang(&t, fifo, path);
	unlink(path);
	unlink(fifo);
	rmdir(dir);
	return tap_done(&t);
}
