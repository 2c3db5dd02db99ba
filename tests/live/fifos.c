/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fifos: named pipes with data in them, opened from both sides, read-write, twice, with an odd size,
 * with a child as reader, and one whose name is gone.
 */
#include "descriptors.h"

static int rw, reader, writer, deleted, second;

static void kid(void *arg)
{
	char c = 0;

	(void)arg;
	close(writer);
	child_up();
	wait_term();
	while (read(reader, &c, 1) < 0)
		CHECK(errno == EINTR || errno == EAGAIN);
	CHECK(c == 'k');
}

int main(int argc, char **argv)
{
	struct fd_note note;
	char buf[64] = "";
	pid_t pid;

	subject_init(argc, argv);
	NEED(mkfifo("a", 0640) == 0 && mkfifo("b", 0600) == 0 && mkfifo("c", 0600) == 0);
	rw = open("a", O_RDWR);
	NEED(rw >= 0 && fcntl(rw, F_SETPIPE_SZ, 16384) == 16384);
	NEED(write(rw, "waiting", 7) == 7);
	second = open("a", O_RDONLY | O_NONBLOCK);
	reader = open("b", O_RDONLY | O_NONBLOCK);
	writer = open("b", O_WRONLY);
	deleted = open("c", O_RDWR);
	NEED(second >= 0 && reader >= 0 && writer >= 0 && deleted >= 0);
	NEED(write(deleted, "gone", 4) == 4 && unlink("c") == 0);
	pid = child(kid, NULL);
	fd_note(&note, rw);
	ready();
	wait_term();
	note.st.st_size = 0;
	fd_check(&note, rw, true);
	SAME(fcntl(rw, F_GETPIPE_SZ), 16384);
	SAME(read(rw, buf, sizeof(buf)), 7);
	CHECK(!memcmp(buf, "waiting", 7));
	CHECK(read(second, buf, 1) < 0 && errno == EAGAIN);
	SAME(write(rw, "again", 5), 5);
	SAME(read(second, buf, sizeof(buf)), 5);
	SAME(read(deleted, buf, sizeof(buf)), 4);
	CHECK(!memcmp(buf, "gone", 4));
	CHECK(access("c", F_OK) < 0 && errno == ENOENT);
	SAME(write(writer, "k", 1), 1);
	child_end(pid);
	pass();
}
