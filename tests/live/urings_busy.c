/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * urings_busy: a ring with a request that takes a while (argv[2]: timer, three seconds) or that
 * nothing will complete (poll, of a pipe that stays empty), at descriptor 9.
 */
#include "descriptors.h"
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <poll.h>

enum { SECONDS = 3 };

static struct io_uring_params p;
static char *mem;
static struct __kernel_timespec wait_for = { .tv_sec = SECONDS };
static int pipe_ends[2];

static unsigned *word(unsigned at)
{
	return (unsigned *)(mem + at);
}

static void make_ring(void)
{
	int fd = syscall(SYS_io_uring_setup, 4, &p);

	if (fd < 0)
		skip("no io_uring: %s", strerror(errno));
	NEED(dup2(fd, 9) == 9 && close(fd) == 0);
	mem = mmap(NULL, p.sq_off.array + p.sq_entries * 4 + p.cq_entries * 16,
		PROT_READ | PROT_WRITE, MAP_SHARED, 9, IORING_OFF_SQ_RING);
	NEED(mem != MAP_FAILED);
}

static void submit(bool timer)
{
	struct io_uring_sqe *s = mmap(NULL, p.sq_entries * sizeof(*s), PROT_READ | PROT_WRITE,
		MAP_SHARED, 9, IORING_OFF_SQES);

	NEED(s != MAP_FAILED);
	memset(s, 0, sizeof(*s));
	s->user_data = 77;
	if (timer) {
		s->opcode = IORING_OP_TIMEOUT;
		s->addr = (uintptr_t)&wait_for;
		s->len = 1;
	} else {
		s->opcode = IORING_OP_POLL_ADD;
		s->fd = pipe_ends[0];
		s->poll32_events = POLLIN;
	}
	word(p.sq_off.array)[0] = 0;
	__atomic_store_n(word(p.sq_off.tail), 1, __ATOMIC_RELEASE);
	NEED(syscall(SYS_io_uring_enter, 9, 1, 0, 0, NULL, 0) == 1);
}

int main(int argc, char **argv)
{
	struct io_uring_cqe *c;
	bool timer;

	subject_init(argc, argv);
	timer = argc > 2 && !strcmp(argv[2], "timer");
	NEED(pipe(pipe_ends) == 0);
	make_ring();
	submit(timer);
	ready();
	wait_term();
	if (!timer)
		CHECK(write(pipe_ends[1], "x", 1) == 1);
	CHECK(syscall(SYS_io_uring_enter, 9, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	c = (struct io_uring_cqe *)(mem + p.cq_off.cqes);
	SAME(*word(p.cq_off.tail), 1);
	SAME(c->user_data, 77);
	SAME(c->res, timer ? -ETIME : POLLIN);
	pass();
}
