/* SPDX-License-Identifier: GPL-2.0-or-later */
/* epolls10000: one epoll that waits for 10,000 files: sockets, pipes, eventfds. */
#include "descriptors.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { N = 10000 };

static int fds[N];

static int make(int i)
{
	int ends[2];

	if (i % 10 == 0)
		return eventfd(0, EFD_NONBLOCK);
	if (i % 10 == 1) {
		NEED(pipe(ends) == 0);
		close(ends[0]);
		return ends[1];
	}
	return socket(AF_UNIX, SOCK_DGRAM, 0);
}

int main(int argc, char **argv)
{
	struct rlimit limit = { 2 * N, 2 * N };
	struct epoll_event e, got[4];
	uint64_t one = 1;
	int epoll;

	subject_init(argc, argv);
	NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	epoll = epoll_create1(0);
	for (int i = 0; i < N; i++) {
		NEED((fds[i] = make(i)) >= 0);
		e = (struct epoll_event){ .events = i % 10 ? EPOLLPRI : EPOLLIN | EPOLLET,
			.data.u64 = (uint64_t)i << 32 | 5 };
		NEED(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &e) == 0);
	}
	ready();
	wait_term();
	for (int i = 0; i < N; i++) {
		CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &e) < 0 && errno == EEXIST);
		if (i % 10 == 1)
			CHECK(epoll_ctl(epoll, EPOLL_CTL_DEL, fds[i], NULL) == 0);
	}
	for (int i = 0; i < N; i += 1000) {
		CHECK(write(fds[i], &one, sizeof(one)) == sizeof(one));
		SAME(epoll_wait(epoll, got, 4, PATIENCE_MS), 1);
		CHECK(got[0].data.u64 == ((uint64_t)i << 32 | 5));
	}
	pass();
}
