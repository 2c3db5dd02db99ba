/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dirs: folders with a reading position, shared by dup; a deleted folder is somebody's cwd. */
#include "descriptors.h"

enum { FILES = 300 };

static void in_deleted(void *arg)
{
	struct stat st;

	(void)arg;
	NEED(mkdir("gone", 0711) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
	child_up();
	wait_term();
	CHECK(stat(".", &st) == 0 && S_ISDIR(st.st_mode) && st.st_nlink == 0);
	CHECK((st.st_mode & 0777) == 0711);
	CHECK(open("new", O_CREAT | O_RDWR, 0600) < 0 && errno == ENOENT);
}

/* Reads names from a bare descriptor and marks them in seen. */
static void read_on(int fd, char *seen)
{
	char buf[2048];
	struct dirent64 *d;
	long n;

	while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0)
		for (long at = 0; at < n; at += d->d_reclen) {
			d = (struct dirent64 *)(buf + at);
			if (d->d_name[0] == 'f' && seen[atoi(d->d_name + 1)]++)
				fail("name %s is read twice", d->d_name);
		}
	CHECK(n == 0);
}

int main(int argc, char **argv)
{
	static char seen[FILES];
	char buf[2048], name[32];
	struct dirent64 *d;
	struct fd_note note;
	int fd, copy, at_start;
	long n;
	pid_t pid;

	subject_init(argc, argv);
	NEED(mkdir("full", 0755) == 0);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "full/f%d", i);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		NEED(fd >= 0 && close(fd) == 0);
	}
	fd = open("full", O_RDONLY | O_DIRECTORY);
	at_start = open("full", O_RDONLY);
	copy = dup(fd);
	NEED(fd >= 0 && at_start >= 0 && copy >= 0);
	n = syscall(SYS_getdents64, fd, buf, sizeof(buf));
	NEED(n > 0);
	for (long at = 0; at < n; at += d->d_reclen) {
		d = (struct dirent64 *)(buf + at);
		if (d->d_name[0] == 'f')
			seen[atoi(d->d_name + 1)] = 1;
	}
	pid = child(in_deleted, NULL);
	fd_note(&note, fd);
	ready();
	wait_term();
	fd_check(&note, fd, true);
	CHECK(fd_is_same(getpid(), fd, getpid(), copy));
	read_on(copy, seen);
	for (int i = 0; i < FILES; i++)
		if (!seen[i])
			fail("name f%d is not read", i);
	memset(seen, 0, sizeof(seen));
	read_on(at_start, seen);
	for (int i = 0; i < FILES; i++)
		CHECK(seen[i]);
	child_end(pid);
	pass();
}
