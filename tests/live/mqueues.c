/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mqueues: a queue with messages of several priorities, its descriptors to read, to write and not
 * to wait; a full one that was unlinked, shared with a child; an empty one nobody can see.
 * With a mount of type mqueue in the folder "queues", descriptors opened there as well.
 */
#include "descriptors.h"
#include <mqueue.h>

enum { LARGE = 3000 };

static const struct {
	unsigned priority;
	const char *text;
} sent[] = { { 5, "third" }, { 0, "last" }, { 5, "fourth" }, { 32767, "first" }, { 9, "" } };
static const int order[] = { 3, 4, 0, 2, 1 };

static mqd_t writer, reader, lost, idle;
static int by_path = -1;
static char large[LARGE];

static mqd_t queue(const char *name, int flags, long n, long size)
{
	struct mq_attr attr = { .mq_maxmsg = n, .mq_msgsize = size };
	mqd_t q = mq_open(name, flags, 0640, &attr);

	NEED(q >= 0);
	return q;
}

static void next_is(mqd_t q, const char *text, size_t n, unsigned priority)
{
	char buf[LARGE];
	unsigned got;
	ssize_t r = mq_receive(q, buf, sizeof(buf), &got);

	CHECK(r == (ssize_t)n);
	CHECK(!memcmp(buf, text, n));
	SAME(got, priority);
}

static void empty(mqd_t q)
{
	char buf[LARGE];

	CHECK(mq_receive(q, buf, sizeof(buf), NULL) < 0 && errno == EAGAIN);
}

static void attributes_are(mqd_t q, long flags, long n, long size)
{
	struct mq_attr attr;

	CHECK(mq_getattr(q, &attr) == 0);
	SAME(attr.mq_flags, flags);
	SAME(attr.mq_maxmsg, n);
	SAME(attr.mq_msgsize, size);
}

static void kid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	next_is(lost, large, LARGE, 1);
	next_is(lost, large, 7, 1);
}

int main(int argc, char **argv)
{
	pid_t pid;

	subject_init(argc, argv);
	large[LARGE - 1] = 'x';
	writer = queue("/torpor-mq", O_WRONLY | O_CREAT | O_EXCL, 6, LARGE);
	NEED(fchmod(writer, 0604) == 0);
	reader = mq_open("/torpor-mq", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	NEED(reader >= 0);
	for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++)
		NEED(mq_send(writer, sent[i].text, strlen(sent[i].text), sent[i].priority) == 0);
	lost = queue("/torpor-lost", O_RDWR | O_CREAT | O_EXCL, 2, LARGE);
	NEED(mq_send(lost, large, LARGE, 1) == 0 && mq_send(lost, large, 7, 1) == 0);
	NEED(mq_unlink("/torpor-lost") == 0);
	idle = queue("/torpor-idle", O_RDONLY | O_NONBLOCK | O_CREAT | O_EXCL, 1, LARGE);
	by_path = open("queues/torpor-mq", O_RDWR | O_NONBLOCK);
	pid = child(kid, NULL);
	ready();
	wait_term();
	child_end(pid);
	attributes_are(writer, 0, 6, LARGE);
	attributes_are(reader, O_NONBLOCK, 6, LARGE);
	attributes_are(lost, 0, 2, LARGE);
	attributes_are(idle, O_NONBLOCK, 1, LARGE);
	SAME(fcntl(reader, F_GETFD), FD_CLOEXEC);
	CHECK(mq_send(reader, "", 0, 0) < 0 && errno == EBADF);
	CHECK(mq_send(writer, "late", 4, 6) == 0);
	for (int i = 0; i < 2; i++)
		next_is(reader, sent[order[i]].text, strlen(sent[order[i]].text), sent[order[i]].priority);
	if (by_path >= 0)
		attributes_are(by_path, O_NONBLOCK, 6, LARGE);
	next_is(by_path >= 0 ? by_path : reader, "late", 4, 6);
	for (int i = 2; i < 5; i++)
		next_is(reader, sent[order[i]].text, strlen(sent[order[i]].text), sent[order[i]].priority);
	empty(reader);
	empty(idle);
	CHECK(mq_send(lost, "", 0, 0) == 0);
	next_is(lost, "", 0, 0);
	CHECK(mq_open("/torpor-lost", O_RDWR) < 0 && errno == ENOENT);
	CHECK(mq_unlink("/torpor-mq") == 0 && mq_unlink("/torpor-idle") == 0);
	pass();
}
