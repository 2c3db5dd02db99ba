/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kernel/mqueue.h. A queue orders by priority, then by age: sending in that order keeps it. */
#include "kernel/mqueue.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

void mqueue_messages_done(struct mqueue_messages *m)
{
	vec_each(x, m)
		free(x->bytes);
	vec_done(m);
}

/* "QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260" */
int mqueue_notified(int fd, pid_t *ret)
{
	char text[256] = "";
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	const char *at = n > 0 ? strstr(text, "NOTIFY_PID:") : NULL;
	struct cursor c = cursor_of(at ? at + strlen("NOTIFY_PID:") : "");
	uint32_t pid;

	if (n < 0)
		return -errno;
	*ret = parse_u32(&c, 10, &pid) && pid <= INT32_MAX ? (pid_t)pid : 0;
	return 0;
}

static int take_all(int fd, size_t size, struct mqueue_messages *ret)
{
	auto_free char *buf = malloc(size);

	if (!buf)
		return -ENOMEM;
	for (;;) {
		struct mqueue_message m;
		ssize_t n = mq_receive(fd, buf, size, &m.priority);

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		m.n = (size_t)n;
		m.bytes = malloc(m.n + 1);
		if (!m.bytes)
			abort();
		memcpy(m.bytes, buf, m.n);
		vec_push(ret, m);
	}
}

/* Somebody outside may have filled the queue meanwhile: nothing is lost while there is patience. */
int mqueue_put(int fd, const struct mqueue_messages *m)
{
	int patience = 60;

	vec_each(x, m)
		while (mq_send(fd, x->bytes, x->n, x->priority) < 0) {
			struct pollfd room = { .fd = fd, .events = POLLOUT };

			if (errno != EAGAIN || !patience--)
				return -errno;
			poll(&room, 1, 1000);
		}
	return 0;
}

static int report(int fd, int result, const struct mqueue_messages *m)
{
	uint64_t head[2] = { (uint64_t)(int64_t)result, m->n };
	int r = io_write_all(fd, head, sizeof(head));

	vec_each(x, m) {
		uint64_t each[2] = { x->priority, x->n };

		if (r == 0)
			r = io_write_all(fd, each, sizeof(each));
		if (r == 0)
			r = io_write_all(fd, x->bytes, x->n);
	}
	return r;
}

static void child(int fd, size_t size, int out)
{
	struct mqueue_messages all = { 0 };
	sigset_t set;
	int r, back;

	sigfillset(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	r = take_all(fd, size, &all);
	back = mqueue_put(fd, &all);
	_exit(report(out, r < 0 ? r : back, &all) < 0);
}

static int receive(int fd, struct mqueue_messages *ret)
{
	uint64_t head[2], each[2];
	int r = io_read_all(fd, head, sizeof(head));

	for (uint64_t i = 0; r == 0 && i < head[1]; i++) {
		struct mqueue_message m = { 0 };

		r = io_read_all(fd, each, sizeof(each));
		if (r < 0)
			break;
		m.priority = (uint32_t)each[0];
		m.n = each[1];
		m.bytes = malloc(m.n + 1);
		if (!m.bytes)
			abort();
		r = io_read_all(fd, m.bytes, m.n);
		vec_push(ret, m);
	}
	return r < 0 ? r : (int)(int64_t)head[0];
}

int mqueue_peek(int fd, struct mqueue_messages *ret, struct err *err)
{
	struct mq_attr attr;
	int p[2], r;
	pid_t pid;

	if (mq_getattr(fd, &attr) < 0)
		return err_sys(err, "cannot look at a message queue");
	if (!attr.mq_curmsgs)
		return 0;
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make a pipe");
	pid = fork();
	if (pid == 0)
		child(fd, (size_t)attr.mq_msgsize, p[1]);
	close(p[1]);
	r = pid < 0 ? -errno : receive(p[0], ret);
	close(p[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	return r < 0 ? err_sysn(err, -r, "cannot look at the messages of a queue") : 0;
}
