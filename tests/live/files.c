/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * files: regular files with every flag that lasts: offsets, append, synchronous, no access time,
 * O_PATH, folders, links, odd names, high descriptor numbers, owner and signal, shared by dup.
 */
#include "descriptors.h"

enum { RO, WO, RW, APPEND, SYNC, NOATIME, PATH, PATH_DIR, PATH_LINK, DIR_FD, NAME, OWNER, FAR, DUP,
	CLOEXEC, DIRECT, EMPTY, N };

static int fds[N];
static struct fd_note notes[N];

static int make(const char *name, int flags)
{
	uint8_t buf[10000];
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0640);

	NEED(fd >= 0);
	fill(buf, sizeof(buf), strlen(name));
	NEED(write(fd, buf, sizeof(buf)) == sizeof(buf));
	close(fd);
	fd = open(name, flags);
	NEED(fd >= 0);
	return fd;
}

/* Names need not be text (argv[2] "text": these are, for programs that expect that). */
static void set_up(bool text)
{
	fds[RO] = make("ro", O_RDONLY);
	NEED(lseek(fds[RO], 1234, SEEK_SET) == 1234);
	fds[WO] = make("wo", O_WRONLY);
	NEED(lseek(fds[WO], 1l << 40, SEEK_SET) == 1l << 40);
	fds[RW] = make("rw", O_RDWR | O_NONBLOCK);
	fds[APPEND] = make("append", O_WRONLY | O_APPEND);
	fds[SYNC] = make("sync", O_RDWR | O_DSYNC | O_SYNC);
	fds[NOATIME] = make("noatime", O_RDONLY | O_NOATIME);
	fds[PATH] = make("path", O_PATH);
	fds[PATH_DIR] = open(".", O_PATH | O_DIRECTORY);
	NEED(symlink("nowhere", "link") == 0);
	fds[PATH_LINK] = open("link", O_PATH | O_NOFOLLOW);
	fds[DIR_FD] = open(".", O_RDONLY | O_DIRECTORY);
	fds[NAME] = make(text ? "name (deleted)\n \"all\" \xc3\xa4" :
		"name (deleted)\n \"all\" \xc3\xa4 \xff", O_RDWR);
	fds[OWNER] = make("owner", O_RDWR);
	NEED(fcntl(fds[OWNER], F_SETOWN, -getpgid(0)) == 0);
	NEED(fcntl(fds[OWNER], F_SETSIG, SIGRTMIN + 7) == 0);
	fds[FAR] = 1017;
	NEED(dup2(fds[RO], fds[FAR]) == fds[FAR]);
	fds[DUP] = fcntl(fds[RW], F_DUPFD_CLOEXEC, 100);
	fds[CLOEXEC] = make("cloexec", O_RDONLY | O_CLOEXEC);
	fds[DIRECT] = make("direct", O_RDONLY | O_LARGEFILE);
	NEED(fcntl(fds[DIRECT], F_SETFL, O_DIRECT) == 0 || errno == EINVAL);
	fds[EMPTY] = open("empty", O_RDONLY | O_CREAT, 0400);
	for (int i = 0; i < N; i++) {
		NEED(fds[i] >= 0);
		fd_note(&notes[i], fds[i]);
	}
}

static void use(void)
{
	uint8_t want[10000], buf[10000];
	struct stat st;

	fill(want, sizeof(want), strlen("ro"));
	SAME(read(fds[RO], buf, 100), 100);
	CHECK(!memcmp(buf, want + 1234, 100));
	SAME(lseek(fds[FAR], 0, SEEK_CUR), 1334); /* the same description */
	SAME(write(fds[WO], "x", 1), 1);
	CHECK(fstat(fds[WO], &st) == 0 && st.st_size == (1l << 40) + 1);
	SAME(write(fds[RW], "word", 4), 4);
	SAME(lseek(fds[DUP], 0, SEEK_CUR), 4);
	SAME(lseek(fds[APPEND], 0, SEEK_SET), 0);
	SAME(write(fds[APPEND], "end", 3), 3);
	CHECK(fstat(fds[APPEND], &st) == 0 && st.st_size == 10003);
	CHECK(read(fds[WO], buf, 1) < 0 && errno == EBADF);
	CHECK(read(fds[PATH], buf, 1) < 0 && errno == EBADF);
	CHECK(faccessat(fds[DIR_FD], "sync", R_OK, 0) == 0);
	CHECK(faccessat(fds[PATH_DIR], "sync", R_OK, 0) == 0);
	SAME(readlinkat(fds[PATH_LINK], "", (char *)buf, 100), 7);
	CHECK(write(fds[EMPTY], "x", 1) < 0 && errno == EBADF);
}

int main(int argc, char **argv)
{
	int count;

	subject_init(argc, argv);
	set_up(argc > 2);
	count = fd_count();
	ready();
	wait_term();
	SAME(fd_count(), count);
	for (int i = 0; i < N; i++)
		fd_check(&notes[i], fds[i], true);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < i; k++)
			SAME(fd_is_same(getpid(), fds[i], getpid(), fds[k]),
				(i == FAR && k == RO) || (i == DUP && k == RW));
	use();
	pass();
}
