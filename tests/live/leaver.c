// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What makes a dump leave something behind: connections (the network lock), and a file that is open
 * by a name it has no longer while it has another one (--link-remap). For tests/faults.
 */
#include "net.h"

enum { LEN = 4000 };

int main(int argc, char **argv)
{
	char bytes[LEN], in[LEN];
	struct stat st, now;
	struct wire w[2];
	int listener, fd;

	subject_init(argc, argv);
	listener = listen_on("127.0.0.1", 0, 5);
	for (int i = 0; i < 2; i++)
		w[i] = wire_make(listener, "127.0.0.1");
	fill(bytes, LEN, 4);
	send_all(w[0].a, bytes, LEN);
	fd = open("lost", O_RDWR | O_CREAT, 0600);
	NEED(fd >= 0 && write(fd, bytes, LEN) == LEN);
	NEED(link("lost", "other") == 0 && unlink("lost") == 0 && fstat(fd, &st) == 0);
	ready();
	wait_term();

	recv_all(w[0].b, in, LEN);
	CHECK(holds(in, LEN, 4));
	for (int i = 0; i < 2; i++)
		wire_works(w[i], 10 + i);
	SAME(pread(fd, in, LEN, 0), LEN);
	CHECK(holds(in, LEN, 4));
	CHECK(fstat(fd, &now) == 0);
	SAME(now.st_ino, st.st_ino);
	SAME(now.st_nlink, st.st_nlink);
	pass();
}
