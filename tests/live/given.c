/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * given: descriptors 0 and 1 are a pipe to somebody outside, 9 is the file "given": what a restore
 * is told to take from outside. Copies a byte from 0 to 1 and says what is in 9.
 */
#include "descriptors.h"

int main(int argc, char **argv)
{
	char c, buf[64] = "";
	int fd;

	subject_init(argc, argv);
	fd = open("given", O_RDWR);
	NEED(fd >= 0 && dup2(fd, 9) == 9);
	close(fd);
	ready();
	wait_term();
	CHECK(pread(9, buf, sizeof(buf) - 1, 0) > 0);
	say("holds %s", buf);
	CHECK(read(0, &c, 1) == 1);
	CHECK(write(1, &c, 1) == 1);
	pass();
}
