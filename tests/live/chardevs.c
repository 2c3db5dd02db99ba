/* SPDX-License-Identifier: GPL-2.0-or-later */
/* chardevs: null, zero, full, random and urandom, also through a device node of our own. */
#include "descriptors.h"
#include <sys/sysmacros.h>

int main(int argc, char **argv)
{
	static const char *const names[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
		"/dev/urandom", "own-null" };
	struct fd_note notes[6];
	uint8_t buf[64], *zero;
	int fds[6];

	subject_init(argc, argv);
	NEED(mknod("own-null", S_IFCHR | 0666, makedev(1, 3)) == 0);
	for (int i = 0; i < 6; i++) {
		fds[i] = open(names[i], i % 2 ? O_RDONLY | O_NONBLOCK : O_RDWR);
		if (i == 5 && fds[i] < 0 && errno == EACCES) /* the folder is on a nodev mount */
			fds[i] = open("/dev/null", O_RDONLY);
		NEED(fds[i] >= 0);
		fd_note(&notes[i], fds[i]);
	}
	zero = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fds[1], 0);
	NEED(zero != MAP_FAILED);
	fill(zero, 4096, 9);
	ready();
	wait_term();
	for (int i = 0; i < 6; i++)
		fd_check(&notes[i], fds[i], true);
	SAME(read(fds[0], buf, sizeof(buf)), 0);
	memset(buf, 1, sizeof(buf));
	SAME(read(fds[1], buf, sizeof(buf)), sizeof(buf));
	CHECK(all_zero(buf, sizeof(buf)));
	CHECK(write(fds[2], buf, 1) < 0 && errno == ENOSPC);
	SAME(read(fds[3], buf, sizeof(buf)), sizeof(buf));
	SAME(read(fds[4], buf, sizeof(buf)), sizeof(buf));
	CHECK(!all_zero(buf, sizeof(buf)));
	SAME(read(fds[5], buf, sizeof(buf)), 0);
	CHECK(holds(zero, 4096, 9) && all_zero(zero + 4096, 4096));
	pass();
}
