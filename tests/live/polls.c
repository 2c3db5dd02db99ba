/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * polls: epoll sets (one in another, a closed number, edge triggered, one-shot), timerfd and signalfd
 * with something to read, memfds with contents, seals and a mapping shared with a child.
 */
#include "descriptors.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static int inner, outer, event, quiet, timer, far, signals, memory, sealed;
static uint64_t *shared;

static void add(int set, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, &ev) == 0);
}

static void kid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	shared[0]++;
	CHECK(pwrite(memory, "kid", 3, 6000) == 3);
}

static void set_up(void)
{
	struct itimerspec every = { { 0, 5000000 }, { 0, 5000000 } }, late = { { 3, 4 }, { 5000, 0 } };
	sigset_t set;

	event = eventfd(1, 0);
	quiet = eventfd(0, 0);
	inner = epoll_create1(0);
	outer = epoll_create1(EPOLL_CLOEXEC);
	add(inner, event, EPOLLIN | EPOLLET, 0x1111111122222222);
	add(inner, quiet, EPOLLIN | EPOLLONESHOT, 0x3333333344444444);
	add(outer, inner, EPOLLIN, 55);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	far = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC);
	NEED(timerfd_settime(timer, 0, &every, NULL) == 0 && timerfd_settime(far, 0, &late, NULL) == 0);
	add(outer, timer, EPOLLIN, 66);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	NEED(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	signals = signalfd(-1, &set, SFD_NONBLOCK);
	NEED(kill(getpid(), SIGUSR1) == 0);
	memory = memfd_create("a memfd", 0);
	NEED(memory >= 0 && ftruncate(memory, 8192) == 0 && pwrite(memory, "text", 4, 5000) == 4);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	NEED(shared != MAP_FAILED);
	shared[0] = 41;
	sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	NEED(write(sealed, "sealed", 6) == 6);
	NEED(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW) == 0);
}

static void check_polls(void)
{
	struct epoll_event ev[4];
	uint64_t one = 1;

	SAME(write(event, &one, 8), 8);
	SAME(epoll_wait(inner, ev, 4, PATIENCE_MS), 1);
	CHECK(ev[0].data.u64 == 0x1111111122222222);
	SAME(epoll_wait(inner, ev, 4, 0), 0); /* edge triggered */
	SAME(write(quiet, &one, 8), 8);
	SAME(epoll_wait(outer, ev, 1, PATIENCE_MS), 1);
	SAME(epoll_wait(inner, ev, 4, PATIENCE_MS), 1);
	CHECK(ev[0].data.u64 == 0x3333333344444444);
	SAME(write(quiet, &one, 8), 8);
	SAME(epoll_wait(inner, ev, 4, 0), 0); /* once */
}

static void check_timers(void)
{
	struct itimerspec it;
	uint64_t ticks = 0;

	usleep(20000);
	CHECK(read(timer, &ticks, 8) == 8 && ticks >= 3);
	CHECK(timerfd_gettime(far, &it) == 0);
	CHECK(it.it_interval.tv_sec == 3 && it.it_interval.tv_nsec == 4);
	CHECK(it.it_value.tv_sec > 4000 && it.it_value.tv_sec <= 5000);
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo si;
	struct fd_note notes[9];
	int *const fds[] = { &inner, &outer, &event, &quiet, &timer, &far, &signals, &memory, &sealed };
	char buf[8] = "";
	pid_t pid;

	subject_init(argc, argv);
	set_up();
	pid = child(kid, NULL);
	for (int i = 0; i < 9; i++)
		fd_note(&notes[i], *fds[i]);
	ready();
	wait_term();
	for (int i = 0; i < 9; i++)
		fd_check(&notes[i], *fds[i], false);
	check_polls();
	check_timers();
	SAME(read(signals, &si, sizeof(si)), sizeof(si));
	SAME(si.ssi_signo, SIGUSR1);
	CHECK(read(signals, &si, sizeof(si)) < 0 && errno == EAGAIN);
	SAME(shared[0], 41);
	child_end(pid);
	SAME(shared[0], 42);
	CHECK(pread(memory, buf, 3, 6000) == 3 && !strcmp(buf, "kid"));
	CHECK(pread(memory, buf, 4, 5000) == 4 && !memcmp(buf, "text", 4));
	CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_WRITE | F_SEAL_GROW));
	CHECK(write(sealed, "x", 1) < 0 && errno == EPERM);
	pass();
}
