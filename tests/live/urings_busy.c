/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * urings_busy: a ring at descriptor 9 with a request that takes a while (argv[2]: timer, three
 * seconds; hour) or that nothing will complete (poll, of a pipe that stays empty); or with a multishot
 * one that has ended and one for an hour, so that there are as many completions as requests (several),
 * or with the first alone (twice).
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

static struct io_uring_sqe *get(unsigned nth, int op, uint64_t data)
{
	static struct io_uring_sqe *all;
	struct io_uring_sqe *s;

	if (!all)
		all = mmap(NULL, p.sq_entries * sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, 9,
			IORING_OFF_SQES);
	NEED(all != MAP_FAILED);
	s = &all[nth];
	memset(s, 0, sizeof(*s));
	s->opcode = op;
	s->user_data = data;
	return s;
}

static void submit(unsigned nth)
{
	word(p.sq_off.array)[nth] = nth;
	__atomic_store_n(word(p.sq_off.tail), nth + 1, __ATOMIC_RELEASE);
	NEED(syscall(SYS_io_uring_enter, 9, 1, 0, 0, NULL, 0) == 1);
}

static void begin(bool timer)
{
	struct io_uring_sqe *s = get(0, timer ? IORING_OP_TIMEOUT : IORING_OP_POLL_ADD, 77);

	if (timer) {
		s->addr = (uintptr_t)&wait_for;
		s->len = 1;
	} else {
		s->fd = pipe_ends[0];
		s->poll32_events = POLLIN;
	}
	submit(0);
}

static void expect(int32_t result)
{
	struct io_uring_cqe *c = (struct io_uring_cqe *)(mem + p.cq_off.cqes);

	CHECK(syscall(SYS_io_uring_enter, 9, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	if (c->user_data != 77) /* the removal came first */
		c++;
	SAME(c->user_data, 77);
	SAME(c->res, result);
}

/* A poll that completes twice, and its removal. */
static void poll_twice(void)
{
	struct io_uring_sqe *s = get(0, IORING_OP_POLL_ADD, 76);

	s->fd = pipe_ends[0];
	s->poll32_events = POLLIN;
	s->len = IORING_POLL_ADD_MULTI;
	submit(0);
	NEED(write(pipe_ends[1], "x", 1) == 1);
	NEED(syscall(SYS_io_uring_enter, 9, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	if (!(((struct io_uring_cqe *)(mem + p.cq_off.cqes))->flags & IORING_CQE_F_MORE))
		skip("no multishot requests");
	get(1, IORING_OP_POLL_REMOVE, 75)->addr = 76;
	submit(1);
	NEED(syscall(SYS_io_uring_enter, 9, 0, 3, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	SAME(*word(p.cq_off.tail), 3);
	*word(p.cq_off.head) = 3;
}

static void begin_last(bool timer)
{
	struct io_uring_sqe *s;

	poll_twice();
	if (!timer)
		return;
	s = get(2, IORING_OP_TIMEOUT, 77);
	s->addr = (uintptr_t)&wait_for;
	s->len = 1;
	submit(2);
	SAME(*word(p.cq_off.tail), 3);
}

static void end_last(bool timer)
{
	struct io_uring_cqe *c = (struct io_uring_cqe *)(mem + p.cq_off.cqes);

	if (!timer) {
		get(2, IORING_OP_NOP, 77);
		submit(2);
	} else {
		get(3, IORING_OP_TIMEOUT_REMOVE, 78)->addr = 77;
		submit(3);
	}
	CHECK(syscall(SYS_io_uring_enter, 9, 0, timer ? 2 : 1, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	if (timer && c[3].user_data != 77)
		c++;
	SAME(c[3].user_data, 77);
	SAME(c[3].res, timer ? -ECANCELED : 0);
}

int main(int argc, char **argv)
{
	const char *what;
	bool several;

	subject_init(argc, argv);
	NEED(argc > 2);
	what = argv[2];
	several = !strcmp(what, "several");
	if (!strcmp(what, "hour") || several)
		wait_for.tv_sec = 3600;
	NEED(pipe(pipe_ends) == 0);
	make_ring();
	if (several || !strcmp(what, "twice")) {
		begin_last(several);
		ready();
		wait_term();
		end_last(several);
		pass();
	}
	begin(strcmp(what, "poll") != 0);
	ready();
	wait_term();
	if (!strcmp(what, "poll"))
		CHECK(write(pipe_ends[1], "x", 1) == 1);
	if (!strcmp(what, "hour")) {
		get(1, IORING_OP_TIMEOUT_REMOVE, 78)->addr = 77;
		submit(1);
	}
	expect(!strcmp(what, "poll") ? POLLIN : !strcmp(what, "hour") ? -ECANCELED : -ETIME);
	pass();
}
