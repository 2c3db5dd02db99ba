/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * urings: io_uring rings that have been used, by cached and by shared counters; completions that
 * nobody has taken, requests that were written but not submitted, registered files and buffers;
 * reads just begun; a ring with a thread of its own, one without an array; one shared with a child.
 */
#include "descriptors.h"
#include <linux/io_uring.h>

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

enum { PLAIN, BUSY, THREAD, BARE, N, BLOCK = 4096 };

struct ring {
	int fd;
	struct io_uring_params p;
	char *mem;
	struct io_uring_sqe *sqes;
	size_t mem_len, sqes_len;
	unsigned tail; /* ours, as liburing keeps it */
};

static struct ring rings[N];
static char bufs[2][BLOCK] __attribute__((aligned(BLOCK)));
static int file, other;

static unsigned *word(struct ring *r, unsigned at)
{
	return (unsigned *)(r->mem + at);
}

static bool make(struct ring *r, unsigned entries, unsigned flags)
{
	r->p.flags = flags;
	r->fd = syscall(SYS_io_uring_setup, entries, &r->p);
	if (r->fd < 0)
		return false;
	r->mem_len = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	if (!(flags & IORING_SETUP_NO_SQARRAY) && r->p.sq_off.array + r->p.sq_entries * 4 > r->mem_len)
		r->mem_len = r->p.sq_off.array + r->p.sq_entries * 4;
	r->sqes_len = r->p.sq_entries * sizeof(struct io_uring_sqe);
	r->mem = mmap(NULL, r->mem_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
		IORING_OFF_SQ_RING);
	r->sqes = mmap(NULL, r->sqes_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd,
		IORING_OFF_SQES);
	NEED(r->mem != MAP_FAILED && r->sqes != MAP_FAILED);
	for (unsigned i = 0; i < r->p.sq_entries && !(flags & IORING_SETUP_NO_SQARRAY); i++)
		word(r, r->p.sq_off.array)[i] = i;
	return true;
}

static struct io_uring_sqe *get(struct ring *r, int op, uint64_t data)
{
	struct io_uring_sqe *s = &r->sqes[r->tail++ & (r->p.sq_entries - 1)];

	memset(s, 0, sizeof(*s));
	s->opcode = op;
	s->user_data = data;
	return s;
}

static void flush(struct ring *r)
{
	__atomic_store_n(word(r, r->p.sq_off.tail), r->tail, __ATOMIC_RELEASE);
	/* before a look at whether the kernel's thread sleeps: io_uring(7) */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void submit(struct ring *r, unsigned n, unsigned wait)
{
	unsigned flags = wait ? IORING_ENTER_GETEVENTS : 0;
	long got;

	flush(r);
	if (r->p.flags & IORING_SETUP_SQPOLL) {
		if (__atomic_load_n(word(r, r->p.sq_off.flags), __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP)
			flags |= IORING_ENTER_SQ_WAKEUP;
		got = flags ? syscall(SYS_io_uring_enter, r->fd, n, wait, flags, NULL, 0) : n;
	} else {
		got = syscall(SYS_io_uring_enter, r->fd, n, wait, flags, NULL, 0);
	}
	if (got != n)
		fail("submitted %ld of %u: %s", got, n, strerror(errno));
}

/* The next completion: waits for it. */
static void expect(struct ring *r, uint64_t data, int res)
{
	unsigned *head = word(r, r->p.cq_off.head), at = *head;
	struct io_uring_cqe *c;

	for (int i = 0; i < PATIENCE_MS && __atomic_load_n(word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) == at; i++)
		usleep(1000);
	if (__atomic_load_n(word(r, r->p.cq_off.tail), __ATOMIC_ACQUIRE) == at)
		fail("completion %llu does not come", (unsigned long long)data);
	c = (struct io_uring_cqe *)(r->mem + r->p.cq_off.cqes) + (at & (r->p.cq_entries - 1));
	if (c->user_data != data || c->res != res)
		fail("completion %llu with %d, not %llu with %d", (unsigned long long)c->user_data, c->res,
			(unsigned long long)data, res);
	__atomic_store_n(head, at + 1, __ATOMIC_RELEASE);
}

/* Waits until that many have ever been completed. */
static void await_tail(struct ring *r, unsigned n)
{
	unsigned *tail = word(r, r->p.cq_off.tail);

	for (int i = 0; i < PATIENCE_MS && __atomic_load_n(tail, __ATOMIC_ACQUIRE) < n; i++)
		usleep(1000);
	SAME(__atomic_load_n(tail, __ATOMIC_ACQUIRE), n);
}

static void use(struct ring *r, unsigned n)
{
	for (unsigned i = 1; i <= n; i++) {
		get(r, IORING_OP_NOP, i);
		submit(r, 1, 1);
		expect(r, i, 0);
	}
}

static void read_block(struct ring *r, int fd, void *buf, uint64_t data, off_t at, unsigned len)
{
	struct io_uring_sqe *s = get(r, IORING_OP_READ, data);

	s->fd = fd;
	s->addr = (uintptr_t)buf;
	s->len = len;
	s->off = at;
}

static void set_up(void)
{
	struct iovec iov[2] = { { bufs[0], BLOCK }, { bufs[1], 100 } };
	struct ring *r = &rings[PLAIN];
	int files[4];

	file = open("file", O_RDWR | O_CREAT, 0644);
	NEED(file >= 0 && ftruncate(file, 40 * BLOCK) == 0 && pwrite(file, "text", 4, 5000) == 4);
	other = open("other", O_RDWR | O_CREAT, 0644);
	NEED(other >= 0 && write(other, "more", 4) == 4);
	if (!make(r, 8, 0))
		skip("no io_uring: %s", strerror(errno));
	files[0] = file;
	files[1] = files[3] = -1;
	files[2] = other;
	NEED(syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_FILES, files, 4) == 0);
	NEED(syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, iov, 2) == 0);
	use(r, 1003);
	for (int i = 0; i < 3; i++)
		get(r, IORING_OP_NOP, 70 + i);
	submit(r, 3, 3); /* not taken */
	read_block(r, file, bufs[1], 80, 5000, 4); /* not submitted */
	flush(r);
	read_block(r, file, bufs[1] + 4, 81, 5000, 4); /* and not even told */
	NEED(make(&rings[BUSY], 32, 0));
	NEED(make(&rings[THREAD], 4, IORING_SETUP_SQPOLL) || (rings[THREAD].fd = -1));
	if (rings[THREAD].fd >= 0)
		use(&rings[THREAD], 50);
	if (!make(&rings[BARE], 4, IORING_SETUP_NO_SQARRAY))
		rings[BARE].fd = -1;
	else
		use(&rings[BARE], 5);
}

static void kid(void *arg)
{
	struct ring *r = &rings[BUSY];

	(void)arg;
	child_up();
	wait_term();
	r->tail = *word(r, r->p.sq_off.tail);
	use(r, 40);
}

static void check_plain(void)
{
	struct ring *r = &rings[PLAIN];
	struct io_uring_sqe *s;

	for (int i = 0; i < 3; i++)
		expect(r, 70 + i, 0);
	submit(r, 2, 2);
	expect(r, 80, 4);
	expect(r, 81, 4);
	CHECK(!memcmp(bufs[1], "texttext", 8));
	s = get(r, IORING_OP_READ_FIXED, 82);
	s->addr = (uintptr_t)bufs[0];
	s->len = 4;
	s->off = 5000;
	s->buf_index = 0;
	s->flags = IOSQE_FIXED_FILE; /* slot 0 */
	s = get(r, IORING_OP_READ, 83);
	s->fd = 2;
	s->flags = IOSQE_FIXED_FILE;
	s->addr = (uintptr_t)(bufs[0] + 10);
	s->len = 10;
	submit(r, 2, 2);
	expect(r, 82, 4);
	expect(r, 83, 4);
	CHECK(!memcmp(bufs[0], "text", 4) && !memcmp(bufs[0] + 10, "more", 4));
	use(r, 20);
}

int main(int argc, char **argv)
{
	struct fd_note notes[N];
	pid_t pid;

	subject_init(argc, argv);
	set_up();
	pid = child(kid, NULL);
	for (int i = 0; i < N; i++)
		if (rings[i].fd >= 0)
			fd_note(&notes[i], rings[i].fd);
	ready();
	for (int i = 0; i < 30; i++)
		read_block(&rings[BUSY], file, bufs[0], 100 + i, i * BLOCK, BLOCK);
	submit(&rings[BUSY], 30, 0);
	wait_term();
	for (int i = 0; i < N; i++)
		if (rings[i].fd >= 0)
			fd_check(&notes[i], rings[i].fd, false);
	await_tail(&rings[BUSY], 30); /* without a dump they may still be on their way */
	__atomic_store_n(word(&rings[BUSY], rings[BUSY].p.cq_off.head), 30, __ATOMIC_RELEASE);
	child_end(pid); /* uses the same ring */
	rings[BUSY].tail = *word(&rings[BUSY], rings[BUSY].p.sq_off.tail);
	use(&rings[BUSY], 40);
	check_plain();
	if (rings[THREAD].fd >= 0)
		use(&rings[THREAD], 50);
	if (rings[BARE].fd >= 0)
		use(&rings[BARE], 30);
	pass();
}
