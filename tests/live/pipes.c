/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pipes: data waiting in them, sizes other than usual, full, packet mode, non-blocking, both ends in
 * several tasks, ends without counterpart, opened again through /proc, of another owner and mode.
 */
#include "descriptors.h"

enum { DATA, SMALL, BIG, PACKET, NO_WRITER, NO_READER, TO_KID, FROM_KID, EMPTY, N };

static int p[N][2];

static void kid(void *arg)
{
	char buf[64];

	(void)arg;
	close(p[TO_KID][1]);
	close(p[FROM_KID][0]);
	child_up();
	/* echoes until its input ends: only if nobody kept a stray end open */
	for (;;) {
		ssize_t n = read(p[TO_KID][0], buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		CHECK(write(p[FROM_KID][1], buf, n) == n);
	}
	wait_term();
}

static void fill_pipe(int fd, uint64_t seed, size_t len)
{
	uint8_t *buf = malloc(len);

	NEED(buf);
	fill(buf, len, seed);
	NEED(write(fd, buf, len) == (ssize_t)len);
	free(buf);
}

static void expect_pipe(int fd, uint64_t seed, size_t len)
{
	uint8_t *buf = malloc(len);

	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, buf + got, len - got);

		CHECK(n > 0);
		got += n;
	}
	CHECK(holds(buf, len, seed));
	free(buf);
}

static void set_up(void)
{
	for (int i = 0; i < N; i++)
		NEED(pipe2(p[i], i == PACKET ? O_DIRECT : i == EMPTY ? O_NONBLOCK | O_CLOEXEC : 0) == 0);
	fill_pipe(p[DATA][1], 1, 40000);
	NEED(fcntl(p[SMALL][1], F_SETPIPE_SZ, 4096) == 4096);
	fill_pipe(p[SMALL][1], 2, 4096);
	NEED(fcntl(p[BIG][1], F_SETPIPE_SZ, 1 << 20) == 1 << 20);
	fill_pipe(p[BIG][1], 3, 1 << 20);
	NEED(write(p[PACKET][1], "one", 3) == 3 && write(p[PACKET][1], "three", 5) == 5);
	fill_pipe(p[NO_WRITER][1], 4, 800);
	close(p[NO_WRITER][1]);
	close(p[NO_READER][0]);
	NEED(fchown(p[DATA][1], 1234, 2345) == 0 && fchown(p[NO_WRITER][0], 0, 77) == 0);
	NEED(fchmod(p[DATA][0], 0640) == 0 && fchmod(p[EMPTY][0], 0666) == 0);
}

static void use(void)
{
	char buf[64] = "";

	SAME(fcntl(p[SMALL][0], F_GETPIPE_SZ), 4096);
	SAME(fcntl(p[BIG][0], F_GETPIPE_SZ), 1 << 20);
	SAME(fcntl(p[DATA][0], F_GETPIPE_SZ), 65536);
	expect_pipe(p[DATA][0], 1, 40000);
	expect_pipe(p[SMALL][0], 2, 4096);
	expect_pipe(p[BIG][0], 3, 1 << 20);
	SAME(read(p[PACKET][0], buf, sizeof(buf)), 3);
	SAME(read(p[PACKET][0], buf, sizeof(buf)), 5);
	CHECK(!memcmp(buf, "three", 5));
	expect_pipe(p[NO_WRITER][0], 4, 800);
	SAME(read(p[NO_WRITER][0], buf, 1), 0);
	CHECK(write(p[NO_READER][1], "x", 1) < 0 && errno == EPIPE);
	CHECK(read(p[EMPTY][0], buf, 1) < 0 && errno == EAGAIN);
	SAME(write(p[EMPTY][1], "go", 2), 2);
	SAME(read(p[EMPTY][0], buf, 2), 2);
}

int main(int argc, char **argv)
{
	struct fd_note notes[N][2];
	char buf[64] = "", path[64];
	int again;
	pid_t pid;

	subject_init(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	set_up();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[DATA][0]);
	again = open(path, O_RDONLY); /* the same pipe, another description */
	NEED(again >= 0);
	pid = child(kid, NULL);
	close(p[TO_KID][0]);
	close(p[FROM_KID][1]);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			if (fcntl(p[i][k], F_GETFD) >= 0)
				fd_note(&notes[i][k], p[i][k]);
			else
				notes[i][k].fl = -1;
	ready();
	wait_term();
	for (int i = 0; i < N; i++)
		for (int k = 0; k < 2; k++)
			if (notes[i][k].fl >= 0) {
				notes[i][k].st.st_size = 0;
				fd_check(&notes[i][k], p[i][k], false);
			}
	CHECK(!fd_is_same(getpid(), again, getpid(), p[DATA][0]));
	SAME(read(again, buf, 0), 0);
	use();
	SAME(write(p[DATA][1], "q", 1), 1);
	SAME(read(again, buf, 1), 1);
	CHECK(buf[0] == 'q');
	SAME(write(p[TO_KID][1], "echo", 4), 4);
	SAME(read(p[FROM_KID][0], buf, 4), 4);
	CHECK(!memcmp(buf, "echo", 4));
	/* the child holds copies of the other write ends, but not of this one */
	CHECK(close(p[TO_KID][1]) == 0);
	child_end(pid);
	SAME(read(p[FROM_KID][0], buf, 1), 0);
	pass();
}
