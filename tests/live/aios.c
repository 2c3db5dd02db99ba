/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * aios: contexts of asynchronous I/O: idle, used, with events that nobody has taken (also over the
 * end of the ring), with writes just begun; a child has one of its own at the same place.
 */
#include "descriptors.h"
#include <linux/aio_abi.h>
#include <sys/eventfd.h>

enum { BLOCK = 4096, WRITES = 32 };

struct ring {
	uint32_t id, nr, head, tail;
};

static aio_context_t idle, used, full, busy;
static char buf[BLOCK];
static char *blocks;
static int file, event;

static aio_context_t make(unsigned n)
{
	aio_context_t ctx = 0;

	NEED(syscall(SYS_io_setup, n, &ctx) == 0);
	return ctx;
}

static void submit(aio_context_t ctx, int op, int fd, void *p, size_t len, off_t at, uint64_t data)
{
	struct iocb cb = { .aio_data = data, .aio_lio_opcode = op, .aio_fildes = fd,
		.aio_buf = (uintptr_t)p, .aio_nbytes = len, .aio_offset = at,
		.aio_flags = IOCB_FLAG_RESFD, .aio_resfd = event };
	struct iocb *list[] = { &cb };

	if (syscall(SYS_io_submit, ctx, 1, list) != 1)
		fail("io_submit: %s", strerror(errno));
}

/* The next event; none may come when data is 0. */
static void expect(aio_context_t ctx, uint64_t data, int64_t res)
{
	struct io_event e;
	struct timespec wait = { PATIENCE_MS / 1000, 0 }, none = { 0 };
	long n = syscall(SYS_io_getevents, ctx, data ? 1 : 0, 1, &e, data ? &wait : &none);

	SAME(n, data ? 1 : 0);
	if (n) {
		SAME(e.data, data);
		SAME(e.res, res);
	}
}

static void use(aio_context_t ctx, unsigned n)
{
	for (unsigned i = 1; i <= n; i++) {
		submit(ctx, IOCB_CMD_PREAD, file, buf, 10 + i % 7, i, i);
		expect(ctx, i, 10 + i % 7);
	}
}

static void pend(aio_context_t ctx, unsigned n)
{
	for (unsigned i = 1; i <= n; i++)
		submit(ctx, IOCB_CMD_PREAD, file, buf, i, 0, 1000 + i);
}

static void check(aio_context_t ctx, unsigned pending)
{
	const struct ring *ring = (const struct ring *)ctx;

	for (unsigned i = 1; i <= pending; i++)
		expect(ctx, 1000 + i, i);
	expect(ctx, 0, 0);
	use(ctx, ring->nr + 3); /* once around */
	expect(ctx, 0, 0);
}

static void kid(void *arg)
{
	aio_context_t own = make(20);

	(void)arg;
	pend(own, 5);
	child_up();
	wait_term();
	check(own, 5);
}

static void set_up(void)
{
	unsigned nr;

	event = eventfd(0, EFD_NONBLOCK);
	file = open("file", O_RDWR | O_CREAT, 0644);
	NEED(file >= 0 && ftruncate(file, 100000) == 0);
	idle = make(1);
	used = make(100);
	use(used, 77);
	full = make(40);
	nr = ((const struct ring *)full)->nr;
	use(full, nr - 5);
	pend(full, 30);
	busy = make(WRITES);
}

int main(int argc, char **argv)
{
	uint64_t sum = 0;
	int direct;
	pid_t pid;

	subject_init(argc, argv);
	set_up();
	pid = child(kid, NULL);
	blocks = map(WRITES * BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	fill(blocks, WRITES * BLOCK, 9);
	direct = open("direct", O_RDWR | O_CREAT | O_DIRECT, 0644);
	if (direct < 0)
		direct = open("direct", O_RDWR | O_CREAT, 0644);
	NEED(direct >= 0 && ftruncate(direct, WRITES * BLOCK) == 0);
	ready();
	for (int i = 0; i < WRITES; i++)
		submit(busy, IOCB_CMD_PWRITE, direct, blocks + i * BLOCK, BLOCK, i * BLOCK, 1);
	wait_term();
	check(idle, 0);
	check(used, 0);
	check(full, 30);
	for (int i = 0; i < WRITES; i++)
		expect(busy, 1, BLOCK);
	expect(busy, 0, 0);
	CHECK(pread(direct, blocks, WRITES * BLOCK, 0) == WRITES * BLOCK && holds(blocks, WRITES * BLOCK, 9));
	CHECK(read(event, &sum, 8) == 8 && sum > 100);
	CHECK(syscall(SYS_io_destroy, full) == 0);
	CHECK(syscall(SYS_io_destroy, full) < 0 && errno == EINVAL);
	child_end(pid);
	pass();
}
