/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process that looks at pseudoterminals: struct tty_looker. For each pair it sends a head and
 * then the parts of both ends, each as its length and its bytes. If nobody reads that any more it
 * ends, but not before what it has taken is back in its place.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/tty_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

struct head {
	int64_t result; /* -errno */
	uint64_t closed, n_master, n_slave;
};

void tty_waiting_done(struct tty_waiting *w)
{
	tty_parts_done(&w->master);
	tty_parts_done(&w->slave);
}

/* ---- looking ---- */

static int look_master(const struct tty_ends *e, struct tty_parts *ret)
{
	int r = tty_more_comes(e->master) ? tty_available(e->master) : 0, back;

	if (r <= 0)
		return r;
	r = tty_take_master(e->master, ret);
	back = tty_put_master(e, ret);
	return r < 0 ? r : back;
}

/* The beginning of a line cannot be seen without taking it. */
static bool has_nothing(int slave, const struct termios *t)
{
	return !(t->c_lflag & ICANON) && !tty_more_comes(slave) && tty_available(slave) == 0;
}

static int look_slave(const struct tty_ends *e, struct tty_parts *ret)
{
	auto_close int again = -1;
	struct tty_ends own = *e;
	struct termios was;
	char self[64];
	int r, back;

	if (ioctl(e->slave, TCGETS, &was) < 0)
		return -errno;
	if (has_nothing(e->slave, &was))
		return 0;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", e->slave);
	own.slave = again = open(self, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (again < 0)
		return -errno;
	r = tty_take_slave(again, &was, ret);
	if (ioctl(again, TCSETS, &was) < 0 && r == 0)
		r = -errno;
	back = tty_put_slave(&own, ret);
	return r < 0 ? r : back;
}

static int look_both(const struct tty_ends *e, struct tty_waiting *ret)
{
	int r;

	/* What was typed just now is echoed before the master is looked at. */
	if (e->slave >= 0)
		(void)tty_more_comes(e->slave);
	r = look_master(e, &ret->master);
	return r == 0 && e->slave >= 0 && !ret->closed ? look_slave(e, &ret->slave) : r;
}

/* In packet mode every read has one byte more, and changes of settings are told to the master. */
static int look_plainly(const struct tty_ends *e, struct tty_waiting *ret)
{
	int packet = 0, r;

	if (ioctl(e->master, TIOCGPKT, &packet) < 0)
		return -errno;
	if (packet && ioctl(e->master, TIOCPKT, &(int){ 0 }) < 0)
		return -errno;
	r = look_both(e, ret);
	if (packet && ioctl(e->master, TIOCPKT, &packet) < 0 && r == 0)
		r = -errno;
	return r;
}

/* Closed or never open: the master alone takes what was written, up to a few kilobytes. */
static int look_pair(struct tty_ends *e, struct tty_waiting *ret)
{
	struct pollfd p = { .fd = e->master };

	ret->closed = poll(&p, 1, 0) == 1 && p.revents & POLLHUP && e->slave < 0;
	if (ret->closed)
		e->slave = tty_open_slave(e->master);
	return look_plainly(e, ret);
}

/* ---- the process ---- */

static int send_parts(int fd, const struct tty_parts *p)
{
	int r = 0;

	for (size_t i = 0; i < p->n && r == 0; i++) {
		uint64_t n = p->at[i].n;

		r = io_write_all(fd, &n, sizeof(n));
		if (r == 0)
			r = io_write_all(fd, p->at[i].bytes, n);
	}
	return r;
}

static int send_waiting(int fd, int result, const struct tty_waiting *w)
{
	struct head head = { result, w->closed, w->master.n, w->slave.n };
	int r = io_write_all(fd, &head, sizeof(head));

	if (r == 0)
		r = send_parts(fd, &w->master);
	return r == 0 ? send_parts(fd, &w->slave) : r;
}

static int look_nth(int fd, size_t nth, tty_open_fn *open_pair, void *ctx)
{
	auto_close int master = -1, slave = -1;
	struct tty_ends e = { -1, -1 };
	struct tty_waiting w = { 0 };
	int r = open_pair(ctx, nth, &e), sent;

	master = e.master;
	if (r == 0)
		r = look_pair(&e, &w);
	slave = e.slave;
	sent = send_waiting(fd, r, &w);
	tty_waiting_done(&w);
	return sent;
}

/* Signals for the whole group (^C at torpor's terminal) must not stop it half way. */
static _Noreturn void look(int fd, size_t n, tty_open_fn *open_pair, void *ctx)
{
	sigset_t all;
	int r = 0;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	for (size_t i = 0; i < n && r == 0; i++)
		r = look_nth(fd, i, open_pair, ctx);
	_exit(r < 0);
}

int tty_look_begin(struct tty_looker *ret, size_t n, tty_open_fn *open_pair, void *ctx)
{
	int p[2], r;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	r = pid < 0 ? -errno : 0;
	if (pid == 0) {
		close(p[0]);
		look(p[1], n, open_pair, ctx);
	}
	close(p[1]);
	if (r < 0)
		close(p[0]);
	else
		*ret = (struct tty_looker){ .fd = p[0], .pid = pid };
	return r;
}

static int receive_parts(int fd, uint64_t n_parts, struct tty_parts *ret)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < n_parts; i++) {
		auto_free char *bytes = NULL;
		uint64_t n = 0;

		r = io_read_all(fd, &n, sizeof(n));
		bytes = r == 0 ? malloc(n + 1) : NULL;
		if (r == 0)
			r = bytes ? io_read_all(fd, bytes, n) : -ENOMEM;
		if (r == 0) {
			vec_push(ret, ((struct tty_part){ .bytes = bytes, .n = n }));
			bytes = NULL;
		}
	}
	return r;
}

int tty_look_next(struct tty_looker *l, struct tty_waiting *ret)
{
	struct head head;
	int r = io_read_all(l->fd, &head, sizeof(head));

	*ret = (struct tty_waiting){ 0 };
	if (r < 0)
		return r;
	ret->closed = head.closed;
	r = receive_parts(l->fd, head.n_master, &ret->master);
	if (r == 0)
		r = receive_parts(l->fd, head.n_slave, &ret->slave);
	return r < 0 ? r : (int)head.result;
}

void tty_look_end(struct tty_looker *l)
{
	close(l->fd);
	while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}
