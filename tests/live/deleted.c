/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * deleted: small files whose name is gone: with contents and holes, empty, opened twice, made by
 * O_TMPFILE, one in whose place a new file has the name, a deleted folder.
 */
#include "descriptors.h"

enum { DATA, AGAIN, HOLE, EMPTY, TMP, REPLACED, RDONLY, N };

static int fds[N];
static struct fd_note notes[N];

static int make(const char *name, bool with_data)
{
	uint8_t buf[8192];
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0604);

	NEED(fd >= 0);
	fill(buf, sizeof(buf), 42);
	if (with_data)
		NEED(write(fd, buf, sizeof(buf)) == sizeof(buf));
	return fd;
}

static void expect_data(int fd)
{
	uint8_t buf[8192];

	CHECK(pread(fd, buf, sizeof(buf), 0) == sizeof(buf) && holds(buf, sizeof(buf), 42));
}

int main(int argc, char **argv)
{
	char c = 0;
	int fd;

	subject_init(argc, argv);
	fds[DATA] = make("data", true);
	NEED(fchown(fds[DATA], 123, 456) == 0);
	fds[AGAIN] = open("data", O_RDONLY);
	NEED(unlink("data") == 0);
	fds[HOLE] = make("hole", true);
	NEED(pwrite(fds[HOLE], "z", 1, 500000) == 1 && unlink("hole") == 0);
	fds[EMPTY] = make("empty", false);
	NEED(unlink("empty") == 0);
	fds[TMP] = open(".", O_TMPFILE | O_RDWR, 0600);
	NEED(fds[TMP] >= 0 && write(fds[TMP], "temporary", 9) == 9);
	fds[REPLACED] = make("replaced", true);
	NEED(unlink("replaced") == 0);
	fd = make("replaced", false);
	NEED(write(fd, "new", 3) == 3);
	close(fd);
	close(make("rdonly", true));
	fds[RDONLY] = open("rdonly", O_RDONLY);
	NEED(fds[RDONLY] >= 0 && unlink("rdonly") == 0);
	for (int i = 0; i < N; i++)
		fd_note(&notes[i], fds[i]);
	ready();
	wait_term();
	/* the flag does nothing once the file is open; it comes back as one that lost its name */
	notes[TMP].fl = (notes[TMP].fl & ~O_TMPFILE) |
		(fcntl(fds[TMP], F_GETFL) & O_TMPFILE);
	for (int i = 0; i < N; i++)
		fd_check(&notes[i], fds[i], false);
	expect_data(fds[DATA]);
	expect_data(fds[HOLE]);
	expect_data(fds[REPLACED]);
	expect_data(fds[RDONLY]);
	CHECK(pwrite(fds[DATA], "w", 1, 5) == 1 && pread(fds[AGAIN], &c, 1, 5) == 1 && c == 'w');
	CHECK(pread(fds[HOLE], &c, 1, 500000) == 1 && c == 'z');
	CHECK(pread(fds[HOLE], &c, 1, 300000) == 1 && c == 0);
	CHECK(lseek(fds[HOLE], 8192, SEEK_DATA) > 8192); /* still a hole */
	CHECK(pread(fds[TMP], &c, 1, 3) == 1 && c == 'p');
	CHECK(access("data", F_OK) < 0 && access("hole", F_OK) < 0 && access("rdonly", F_OK) < 0);
	fd = open("replaced", O_RDONLY);
	CHECK(fd >= 0 && lseek(fd, 0, SEEK_END) == 3);
	pass();
}
