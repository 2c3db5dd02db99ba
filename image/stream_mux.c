// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The child that makes one stream of many files. It speaks the streamer's side of the protocol on a
 * socket: for each request a descriptor comes, from which the content is read until its end. Content
 * moves by splice(2) where the destination can take it so.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/vec.h"
#include "image/stream.h"
#include "image/stream_form.h"
#include "proto/messages.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { REQUEST_MOST = 4096, COPY = 256 * 1024 };

struct source {
	uint32_t number;
	bool is_inventory;
};

struct mux {
	int sock, out;
	bool ended; /* no more requests */
	bool complete; /* the inventory has come to its end */
	bool no_splice;
	uint32_t files;
	struct vec_of(struct pollfd) polls; /* [0] is the socket */
	struct vec_of(struct source) sources; /* of the others */
	uint8_t *buf;
};

static int put_frame(struct mux *m, uint32_t number, uint32_t length)
{
	const struct stream_frame f = { number, length };

	return io_write_all(m->out, &f, sizeof(f));
}

static int receive_fd(int sock)
{
	char byte, room[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
		.msg_controllen = sizeof(room) };
	struct cmsghdr *c;
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1)
		return -EIO;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EPROTO;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* 1: a request, its name is in buf; 0: there will be no more. */
static int receive_request(int sock, char *buf, size_t room)
{
	ImgStreamerRequestEntry *e;
	uint8_t packed[REQUEST_MOST];
	uint32_t size;
	ssize_t n = read(sock, &size, sizeof(size));
	int r;

	if (n == 0)
		return 0;
	if (n != sizeof(size) || size > sizeof(packed))
		return -EPROTO;
	r = io_read_all(sock, packed, size);
	if (r < 0)
		return r;
	e = img_streamer_request_entry__unpack(NULL, size, packed);
	r = e && strlen(e->filename) < room ? 1 : -EPROTO;
	if (r > 0)
		strcpy(buf, e->filename);
	if (e)
		img_streamer_request_entry__free_unpacked(e, NULL);
	return r;
}

static int accept_file(struct mux *m)
{
	char name[STREAM_NAME_MOST + 1];
	struct pollfd p = { .events = POLLIN };
	struct source s = { .number = m->files + 1 };
	int r = receive_request(m->sock, name, sizeof(name));

	if (r <= 0) {
		m->ended = true;
		m->polls.at[0].fd = -1;
		return r;
	}
	p.fd = receive_fd(m->sock);
	if (p.fd < 0)
		return p.fd;
	m->files++;
	s.is_inventory = !strcmp(name, "inventory.img");
	vec_push(&m->polls, p);
	vec_push(&m->sources, s);
	r = put_frame(m, 0, (uint32_t)(sizeof(s.number) + strlen(name)));
	if (r == 0)
		r = io_write_all(m->out, &s.number, sizeof(s.number));
	return r < 0 ? r : io_write_all(m->out, name, strlen(name));
}

/* What the pipe holds, as one frame. */
static int move_content(struct mux *m, int fd, uint32_t number, size_t len)
{
	int r = put_frame(m, number, (uint32_t)len);

	while (r == 0 && len) {
		ssize_t n = -1;

		if (!m->no_splice)
			n = splice(fd, NULL, m->out, NULL, len, SPLICE_F_MOVE | SPLICE_F_MORE);
		if (n < 0 && (m->no_splice || errno == EINVAL)) {
			m->no_splice = true;
			n = read(fd, m->buf, len < COPY ? len : COPY);
			if (n > 0)
				r = io_write_all(m->out, m->buf, (size_t)n);
		}
		if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
			return n ? -errno : -EIO;
		len -= n > 0 ? (size_t)n : 0;
	}
	return r;
}

/* 1: the file is complete. */
static int serve_file(struct mux *m, const struct pollfd *p, const struct source *s)
{
	int len = 0, r;

	if (ioctl(p->fd, FIONREAD, &len) < 0)
		return -errno;
	if (len > 0) {
		r = move_content(m, p->fd, s->number, (size_t)len);
		return r;
	}
	if (!(p->revents & (POLLHUP | POLLERR)))
		return 0;
	r = put_frame(m, s->number, 0);
	m->complete |= r == 0 && s->is_inventory;
	return r < 0 ? r : 1;
}

static int serve_all(struct mux *m)
{
	int r = 0;

	for (size_t i = m->polls.n; i-- > 1 && r >= 0;) {
		if (!m->polls.at[i].revents)
			continue;
		r = serve_file(m, &m->polls.at[i], &m->sources.at[i - 1]);
		if (r <= 0)
			continue;
		close(m->polls.at[i].fd);
		m->polls.at[i] = m->polls.at[--m->polls.n];
		m->sources.at[i - 1] = m->sources.at[--m->sources.n];
	}
	return r < 0 ? r : 0;
}

int image_stream_multiplex(int sock, int out)
{
	struct mux m = { .sock = sock, .out = out, .buf = malloc(COPY) };
	struct pollfd first = { .fd = sock, .events = POLLIN };
	int r = m.buf ? io_write_all(out, STREAM_MAGIC, strlen(STREAM_MAGIC)) : -ENOMEM;

	vec_push(&m.polls, first);
	while (r == 0 && (!m.ended || m.polls.n > 1)) {
		if (poll(m.polls.at, m.polls.n, -1) < 0) {
			r = errno == EINTR ? 0 : -errno;
			continue;
		}
		r = serve_all(&m);
		if (r == 0 && m.polls.at[0].revents && !m.ended)
			r = accept_file(&m);
		r = r > 0 ? 0 : r;
	}
	if (r == 0 && m.complete)
		r = put_frame(&m, 0, 0);
	else if (r == 0)
		r = -ECANCELED;
	vec_done(&m.polls);
	vec_done(&m.sources);
	free(m.buf);
	return r;
}
