/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tty: a job of a shell: descriptors 0, 1, 2 and one of /dev/tty are a terminal that belongs to a
 * session outside of the tree. Says "hello" to it at the end.
 */
#include "descriptors.h"
#include <sys/ioctl.h>
#include <termios.h>

int main(int argc, char **argv)
{
	struct termios before, after;
	struct fd_note notes[3];
	struct self s;
	char name[64];
	int tty;

	subject_init(argc, argv);
	if (!isatty(0) || !isatty(1) || !isatty(2))
		skip("started without a terminal");
	NEED(ttyname_r(0, name, sizeof(name)) == 0);
	tty = open("/dev/tty", O_RDWR);
	NEED(tty >= 0);
	NEED(tcgetattr(0, &before) == 0);
	for (int i = 0; i < 3; i++)
		fd_note(&notes[i], i);
	self_note(&s, false);
	ready();
	wait_term();
	self_check(&s);
	for (int i = 0; i < 3; i++) {
		CHECK(isatty(i));
		notes[i].owner = notes[i].sig = 0;
		/* 0100000, O_LARGEFILE: openpty(3) leaves it out, open(2) does not; it means nothing */
		notes[i].fl = (notes[i].fl & ~0100000) | (fcntl(i, F_GETFL) & 0100000);
		fd_check(&notes[i], i, true);
	}
	SAME(tcgetsid(0), getsid(0));
	SAME(tcgetsid(tty), getsid(0));
	CHECK(tcgetattr(0, &after) == 0 && !memcmp(&before, &after, sizeof(before)));
	CHECK(fd_is_same(getpid(), 0, getpid(), 1));
	CHECK(write(1, "hello\n", 6) == 6);
	CHECK(write(tty, "tty\n", 4) == 4);
	pass();
}
