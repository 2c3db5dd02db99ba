/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * links: files that lost the name they were opened by while they have others: removed, replaced,
 * mapped; files and a folder hidden by a mount; a file that was renamed.
 */
#include "descriptors.h"
#include <sys/mount.h>

enum { LOST, AGAIN, REPLACED, HIDDEN, HIDDEN_DIR, RENAMED, N };

static int fds[N];
static struct fd_note notes[N];
static char *mapped;

static int make(const char *name, const char *text)
{
	int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0640);

	NEED(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

static void set_up(void)
{
	fds[LOST] = make("lost", "lost text");
	NEED(link("lost", "kept") == 0);
	fds[AGAIN] = open("lost", O_RDONLY | O_NONBLOCK);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[LOST], 0);
	NEED(fds[AGAIN] >= 0 && mapped != MAP_FAILED && unlink("lost") == 0);
	fds[REPLACED] = make("replaced", "old text");
	NEED(rename("replaced", "old") == 0 && link("old", "replaced") == 0);
	NEED(unlink("old") == 0 && link("replaced", "other") == 0 && unlink("replaced") == 0);
	close(make("replaced", "new text"));
	NEED(mkdir("dir", 0755) == 0 && mkdir("dir/sub", 0755) == 0);
	fds[HIDDEN] = make("dir/hidden", "hidden text");
	fds[HIDDEN_DIR] = open("dir/sub", O_RDONLY | O_DIRECTORY);
	NEED(mount("none", "dir", "tmpfs", 0, NULL) == 0);
	close(make("dir/hidden", "not this"));
	fds[RENAMED] = make("before", "renamed text");
	NEED(rename("before", "after") == 0);
}

static void same_file(int fd, const char *name)
{
	struct stat a, b;

	CHECK(fstat(fd, &a) == 0 && stat(name, &b) == 0);
	CHECK(a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

static void check(void)
{
	char buf[64] = "";

	same_file(fds[LOST], "kept");
	same_file(fds[AGAIN], "kept");
	same_file(fds[REPLACED], "other");
	same_file(fds[RENAMED], "after");
	CHECK(pread(fds[LOST], buf, 63, 0) == 9 && !strcmp(buf, "lost text"));
	mapped[0] = 'L';
	CHECK(pread(fds[AGAIN], buf, 9, 0) == 9 && !strcmp(buf, "Lost text"));
	CHECK(write(fds[REPLACED], "!", 1) == 1);
	CHECK(pread(fds[REPLACED], buf, 63, 0) == 9 && !strcmp(buf, "old text!"));
	memset(buf, 0, sizeof(buf));
	CHECK(pread(fds[HIDDEN], buf, 63, 0) == 11 && !strcmp(buf, "hidden text"));
	CHECK(faccessat(fds[HIDDEN_DIR], "../hidden", R_OK, 0) == 0);
	CHECK(umount2("dir", MNT_DETACH) == 0);
	same_file(fds[HIDDEN], "dir/hidden");
	same_file(fds[HIDDEN_DIR], "dir/sub");
}

int main(int argc, char **argv)
{
	subject_init(argc, argv);
	set_up();
	for (int i = 0; i < N; i++)
		fd_note(&notes[i], fds[i]);
	ready();
	wait_term();
	for (int i = 0; i < N; i++) {
		if (i == LOST || i == AGAIN || i == REPLACED) {
			struct stat st;

			/* one link more until a restore, and the text of the link is another one */
			CHECK(fstat(fds[i], &st) == 0 && st.st_nlink >= notes[i].st.st_nlink);
			notes[i].st.st_nlink = st.st_nlink;
			fd_check(&notes[i], fds[i], false);
		} else {
			fd_check(&notes[i], fds[i], i == RENAMED);
		}
	}
	check();
	pass();
}
