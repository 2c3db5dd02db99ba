/* SPDX-License-Identifier: GPL-2.0-or-later */
/* eventfds: counters, semaphore mode, non-blocking, the largest count, shared with a child. */
#include "descriptors.h"
#include <sys/eventfd.h>

static int fds[5];

static void kid(void *arg)
{
	uint64_t v;

	(void)arg;
	child_up();
	wait_term();
	SAME(read(fds[3], &v, 8), 8);
	SAME(v, 5);
}

int main(int argc, char **argv)
{
	struct fd_note notes[5];
	uint64_t v, most = UINT64_MAX - 1;
	pid_t pid;

	subject_init(argc, argv);
	fds[0] = eventfd(12, 0);
	fds[1] = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
	fds[2] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	fds[3] = eventfd(0, 0);
	fds[4] = eventfd(0, EFD_NONBLOCK);
	NEED(fds[0] >= 0 && fds[4] >= 0);
	NEED(write(fds[4], &most, 8) == 8);
	pid = child(kid, NULL);
	for (int i = 0; i < 5; i++)
		fd_note(&notes[i], fds[i]);
	ready();
	wait_term();
	for (int i = 0; i < 5; i++)
		fd_check(&notes[i], fds[i], false);
	SAME(read(fds[0], &v, 8), 8);
	SAME(v, 12);
	for (int i = 0; i < 3; i++) {
		SAME(read(fds[1], &v, 8), 8);
		SAME(v, 1);
	}
	CHECK(read(fds[1], &v, 8) < 0 && errno == EAGAIN);
	CHECK(read(fds[2], &v, 8) < 0 && errno == EAGAIN);
	v = 1;
	CHECK(write(fds[4], &v, 8) < 0 && errno == EAGAIN);
	SAME(read(fds[4], &v, 8), 8);
	CHECK(v == most);
	v = 5;
	SAME(write(fds[3], &v, 8), 8);
	child_end(pid);
	pass();
}
