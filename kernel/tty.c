/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See kernel/tty.h. How the kernel keeps what was not read (drivers/tty/n_tty.c, tty_buffer.c): up to
 * ROOM bytes in the line discipline, what is more in front of it. TIOCSTI goes into the former at
 * once, a write at the other end into the latter, from where it moves on when there is room.
 */
#include "kernel/tty_priv.h"
#include "base/cleanup.h"
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

enum { ROOM = 4095, CHUNK = 4096, PART_MAX = 1 << 20, PATIENCE_MS = 10000 };

void tty_parts_done(struct tty_parts *p)
{
	vec_each(part, p)
		free(part->bytes);
	vec_done(p);
}

int tty_open_slave(int master)
{
	int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

void tty_part_add(struct tty_parts *p, const char *bytes, size_t n)
{
	struct tty_part part = { .bytes = malloc(n ? n : 1), .n = n };

	if (!part.bytes)
		abort();
	if (n)
		memcpy(part.bytes, bytes, n);
	vec_push(p, part);
}

static void grow_part(struct tty_part *part, const char *bytes, size_t n)
{
	part->bytes = realloc(part->bytes, part->n + n + 1);
	if (!part->bytes)
		abort();
	memcpy(part->bytes + part->n, bytes, n);
	part->n += n;
}

/* ---- putting ---- */

static int push(int fd, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ioctl(fd, TIOCSTI, bytes + i) < 0)
			return -errno;
	return 0;
}

/* As much as was there before has room again; should it not, waiting for ever would be worse. */
static int write_other_end(int fd, const char *bytes, size_t n)
{
	int flags = fcntl(fd, F_GETFL), r = 0;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	while (n && r == 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		ssize_t got = write(fd, bytes, n);

		if (got < 0 && errno == EAGAIN && poll(&p, 1, PATIENCE_MS) == 1)
			continue;
		if (got <= 0)
			r = got < 0 ? -errno : -EIO;
		bytes += got > 0 ? got : 0;
		n -= got > 0 ? (size_t)got : 0;
	}
	if (fcntl(fd, F_SETFL, flags) < 0 && r == 0)
		r = -errno;
	return r;
}

/* The first ROOM bytes directly, more through the other end. */
static int put_bytes(int to, int from, const char *bytes, size_t n, size_t *room)
{
	size_t direct = n < *room ? n : *room;
	int r = push(to, bytes, direct);

	*room -= direct;
	if (r == 0 && n > direct)
		r = from < 0 ? -ENOSPC : write_other_end(from, bytes + direct, n - direct);
	return r;
}

/* Nothing is interpreted: no output processing, no echo, no signals. */
static int set_plain(int fd, const struct termios *was, bool lines, cc_t eof)
{
	struct termios t = *was;

	t.c_iflag &= IUTF8;
	t.c_oflag = 0;
	t.c_lflag = lines ? ICANON : 0;
	memset(t.c_cc, 0, sizeof(t.c_cc));
	t.c_cc[VMIN] = 1;
	if (lines) {
		t.c_cc[VEOL] = was->c_cc[VEOL];
		t.c_cc[VEOL2] = was->c_cc[VEOL2];
		t.c_cc[VEOF] = eof;
	}
	return ioctl(fd, TCSETS, &t) < 0 ? -errno : 0;
}

/* A byte that the parts do not contain; 0: they contain all. */
static cc_t unused_byte(const struct tty_parts *p)
{
	bool used[256] = { [0] = true, ['\n'] = true };

	vec_each(part, p)
		for (size_t i = 0; i < part->n; i++)
			used[(uint8_t)part->bytes[i]] = true;
	for (int b = 1; b < 256; b++)
		if (!used[b])
			return (cc_t)b;
	return 0;
}

/* More than the line discipline takes: through the slave, without output processing. */
static int put_much(const struct tty_ends *e, const struct tty_part *part)
{
	size_t room = ROOM;
	struct termios was;
	int r;

	if (ioctl(e->master, TCGETS, &was) < 0)
		return -errno;
	r = set_plain(e->master, &was, was.c_lflag & ICANON, was.c_cc[VEOF]);
	if (r == 0)
		r = put_bytes(e->master, e->slave, part->bytes, part->n, &room);
	if (ioctl(e->master, TCSETS, &was) < 0 && r == 0)
		r = -errno;
	return r;
}

int tty_put_master(const struct tty_ends *e, const struct tty_parts *p)
{
	if (!p->n)
		return 0;
	if (p->at[0].n <= ROOM)
		return push(e->master, p->at[0].bytes, p->at[0].n);
	return put_much(e, &p->at[0]);
}

int tty_put_slave(const struct tty_ends *e, const struct tty_parts *p)
{
	const char eof = (char)unused_byte(p);
	size_t room = ROOM;
	struct termios was;
	int r;

	if (!p->n)
		return 0;
	if (ioctl(e->slave, TCGETS, &was) < 0)
		return -errno;
	r = set_plain(e->slave, &was, was.c_lflag & ICANON, (cc_t)eof);
	for (size_t i = 0; i < p->n && r == 0; i++) {
		const struct tty_part *part = &p->at[i];

		r = put_bytes(e->slave, e->master, part->bytes, part->n, &room);
		if (r == 0 && i + 1 < p->n && eof && (!part->n || part->bytes[part->n - 1] != '\n'))
			r = put_bytes(e->slave, e->master, &eof, 1, &room);
	}
	/* ICANON stays what it was: a change would make one line of all. */
	if (ioctl(e->slave, TCSETS, &was) < 0 && r == 0)
		r = -errno;
	return r;
}

/* ---- taking ---- */

int tty_available(int fd)
{
	int n = 0;

	return ioctl(fd, FIONREAD, &n) < 0 ? -errno : n;
}

/* Polling an empty terminal waits until what waits in front of the line discipline has moved on. */
bool tty_more_comes(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

int tty_take_master(int fd, struct tty_parts *ret)
{
	char buf[CHUNK];
	size_t taken = 0;
	int n;

	while (taken < PART_MAX) {
		ssize_t got;

		n = tty_available(fd);
		if (n < 0)
			return n;
		if (n == 0 && !tty_more_comes(fd))
			break;
		got = n ? read(fd, buf, n < CHUNK ? (size_t)n : CHUNK) : 0;
		if (got < 0)
			return -errno;
		if (got && !ret->n)
			tty_part_add(ret, buf, 0);
		if (got)
			grow_part(&ret->at[0], buf, (size_t)got);
		taken += (size_t)got;
	}
	return 0;
}

/* The last part goes on with what was read, unless that began behind an end-of-file. */
static void note_line(struct tty_parts *ret, const char *bytes, size_t n, bool *after_eof)
{
	if (!ret->n || *after_eof)
		tty_part_add(ret, "", 0);
	grow_part(&ret->at[ret->n - 1], bytes, n);
	*after_eof = n == 0 || bytes[n - 1] != '\n';
}

static bool ends_line(const struct termios *t, char c)
{
	return c == '\n' || (t->c_cc[VEOL] && c == (char)t->c_cc[VEOL]) ||
		(t->c_cc[VEOL2] && c == (char)t->c_cc[VEOL2]);
}

/* fd does not block. Lines first; then, without ICANON, the beginning of the next one. */
static int take_lines(int fd, const struct termios *was, struct tty_parts *ret)
{
	bool after_eof = false;
	char buf[CHUNK];
	ssize_t got;
	int r;

	while ((got = read(fd, buf, sizeof(buf))) >= 0) {
		if (ret->n >= PART_MAX / CHUNK)
			return -EOVERFLOW;
		note_line(ret, buf, (size_t)got, &after_eof);
		if (got && ends_line(was, buf[got - 1]))
			after_eof = false;
	}
	if (errno != EAGAIN)
		return -errno;
	/* An end-of-file at the very end: a part with nothing in it follows. */
	if (after_eof)
		tty_part_add(ret, "", 0);
	r = set_plain(fd, was, false, 0);
	while (r == 0 && (got = read(fd, buf, sizeof(buf))) > 0) {
		if (!ret->n)
			tty_part_add(ret, "", 0);
		grow_part(&ret->at[ret->n - 1], buf, (size_t)got);
	}
	return r;
}

static int take_raw(int fd, const struct termios *was, struct tty_parts *ret)
{
	char buf[CHUNK];
	size_t taken = 0;
	ssize_t got = 0;
	int r = set_plain(fd, was, false, 0); /* VMIN may hold back what there is */

	while (r == 0 && taken < PART_MAX) {
		got = read(fd, buf, sizeof(buf));
		if (got <= 0 && !tty_more_comes(fd))
			break;
		if (got > 0 && !ret->n)
			tty_part_add(ret, "", 0);
		if (got > 0)
			grow_part(&ret->at[0], buf, (size_t)got);
		taken += got > 0 ? (size_t)got : 0;
	}
	return r;
}

int tty_take_slave(int fd, const struct termios *was, struct tty_parts *ret)
{
	return was->c_lflag & ICANON ? take_lines(fd, was, ret) : take_raw(fd, was, ret);
}
