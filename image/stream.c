// SPDX-License-Identifier: GPL-2.0-or-later
/* See image/stream.h: the side that asks, for writing and for reading. */
#include "image/stream.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/vec.h"
#include "image/image.h"
#include "image/stream_form.h"
#include "proto/messages.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { PIPE_BYTES = 1024 * 1024, COPY = 256 * 1024, NAMES_MOST = 64 << 20 };

struct image_stream {
	int sock;
	pid_t child; /* the streamer, if it is ours */
	unsigned patience_s; /* with who takes the images */
	struct vec_of(char *) names; /* for the list of names */
};

/* ---- both directions ---- */

static int connect_streamer(int dirfd, const char *name, int *ret_sock, struct err *err)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	auto_close int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return err_sys(err, "cannot make a socket");
	/* the directory may have a longer name than a socket address takes */
	snprintf(to.sun_path, sizeof(to.sun_path), "/proc/self/fd/%d/%s", dirfd, name);
	if (connect(sock, (struct sockaddr *)&to, sizeof(to)) < 0)
		return err_sys(err, "cannot connect to the image streamer's socket '%s' in the images "
			"directory", name);
	*ret_sock = take_fd(&sock);
	return 0;
}

static int streamer_failed(int r, const char *name, struct err *err)
{
	return err_sysn(err, r < 0 ? -r : EPROTO, "the image streamer does not answer what it is asked "
		"about image '%s' (its log tells why)", name);
}

static int send_request(int sock, const char *name)
{
	ImgStreamerRequestEntry e = IMG_STREAMER_REQUEST_ENTRY__INIT;
	uint8_t buf[sizeof(uint32_t) + STREAM_NAME_MOST + 16];
	uint32_t size;

	e.filename = (char *)(uintptr_t)name;
	size = (uint32_t)img_streamer_request_entry__get_packed_size(&e);
	if (size > sizeof(buf) - sizeof(size))
		return -ENAMETOOLONG;
	memcpy(buf, &size, sizeof(size));
	img_streamer_request_entry__pack(&e, buf + sizeof(size));
	return io_write_all(sock, buf, sizeof(size) + size);
}

static int send_fd(int sock, int fd)
{
	char byte = 0, room[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
		.msg_controllen = sizeof(room) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* ---- writing ---- */

/* The child has nothing but its end of the socket and the stream, and ends with us. */
static int start_child(struct image_stream *s, int out, struct err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(err, "cannot make a socket pair");
	s->child = fork();
	if (s->child == 0) {
		close(pair[0]);
		signal(SIGPIPE, SIG_IGN);
		_exit(image_stream_multiplex(pair[1], out) < 0);
	}
	close(pair[1]);
	s->sock = pair[0];
	return s->child < 0 ? err_sys(err, "cannot start the process that writes the stream") : 0;
}

int image_stream_open(const struct stream_plan *plan, int dirfd, struct image_stream **ret, struct err *err)
{
	struct image_stream *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		abort();
	s->sock = -1;
	s->patience_s = plan->patience_s;
	signal(SIGPIPE, SIG_IGN); /* who takes the stream may go away: that is an error of a write */
	if (plan->fd >= 0)
		r = start_child(s, plan->fd, err);
	else
		r = connect_streamer(dirfd, "streamer-capture.sock", &s->sock, err);
	if (r < 0)
		image_stream_free(s);
	else
		*ret = s;
	return r;
}

int image_stream_create(struct image_stream *s, const char *name, int *ret_fd, struct err *err)
{
	auto_close int rd = -1;
	auto_close int wr = -1;
	char *copy = strdup(name);
	int p[2], r;

	if (!copy)
		abort();
	vec_push(&s->names, copy);
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make a pipe for image '%s'", name);
	rd = p[0];
	wr = p[1];
	if (!strncmp(name, "pages-", 6))
		(void)!fcntl(wr, F_SETPIPE_SZ, PIPE_BYTES);
	/* who is to take it may stand still, and the tasks with it: see io_await() */
	(void)!fcntl(wr, F_SETFL, O_WRONLY | O_NONBLOCK);
	r = send_request(s->sock, name);
	if (r == 0)
		r = send_fd(s->sock, rd);
	if (r < 0)
		return image_stream_failed(s, -r, name, err);
	*ret_fd = take_fd(&wr);
	return 0;
}

/* What a restore from a streamer has to ask for. One stream tells by itself. */
static int put_names(struct image_stream *s, struct err *err)
{
	size_t n = s->names.n;
	auto_close int fd = -1;
	auto_free char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int r = image_stream_create(s, STREAM_NAMES, &fd, err);

	if (!out)
		return err_nomem(err);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s\n", s->names.at[i]);
	if (fclose(out) != 0)
		return err_nomem(err);
	if (r == 0)
		r = io_write_patient(fd, text, len, s->patience_s);
	return r < 0 && !err_is_set(err) ? image_write_failed(err, -r, STREAM_NAMES) : r;
}

/* It has no more to do than to write what is in pipes. */
static int await_child(pid_t pid, unsigned patience_s)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : io_await(fd, POLLIN, patience_s);
}

int image_stream_commit(struct image_stream *s, struct err *err)
{
	int status, r = s->child ? 0 : put_names(s, err);

	if (r < 0)
		return r;
	shutdown(s->sock, SHUT_WR);
	if (!s->child)
		return 0;
	r = await_child(s->child, s->patience_s);
	if (r < 0)
		return r == -ETIMEDOUT ? image_write_failed(err, ETIMEDOUT, "inventory.img") :
					 err_sysn(err, -r, "cannot wait until the stream is written");
	while (waitpid(s->child, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(err, "the process that writes the stream vanished");
	s->child = 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 :
		err_set(err, ERR_RESOURCE, EPIPE, "the stream of images could not be written to its "
			"end: who reads it has gone");
}

int image_stream_failed(const struct image_stream *s, int number, const char *what, struct err *err)
{
	if (number != EPIPE && number != ECONNRESET)
		return err_sysn(err, number, "cannot send %s", what);
	return s->child ? err_set(err, ERR_RESOURCE, number, "the reader of the stream (--stream-fd) has "
				  "gone before it had all of %s", what) :
			  err_set(err, ERR_RESOURCE, number, "the image streamer has gone before it had all "
				  "of %s (its log tells why)", what);
}

bool image_stream_is_idle(const struct image_stream *s)
{
	return !s->names.n;
}

void image_stream_free(struct image_stream *s)
{
	if (!s)
		return;
	if (s->sock >= 0)
		close(s->sock);
	if (s->child > 0) /* what it has is no complete set, and who takes it may be slow */
		kill(s->child, SIGKILL);
	if (s->child > 0)
		while (waitpid(s->child, NULL, 0) < 0 && errno == EINTR)
			;
	vec_each(name, &s->names)
		free(*name);
	vec_done(&s->names);
	free(s);
}

/* ---- reading ---- */

/* A file system without a name (fsopen(2), since 5.2). */
static int make_memory(int *ret_dirfd, struct err *err)
{
	auto_close int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd = -1;

	if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) == 0 &&
		fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) == 0 &&
		fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, "cannot make a file system in memory for the stream of images");
	*ret_dirfd = fd;
	return 0;
}

static int copy_all(int from, int to)
{
	auto_free uint8_t *buf = malloc(COPY);
	ssize_t n;
	int r = buf ? 0 : -ENOMEM;

	while (r == 0 && (n = read(from, buf, COPY)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		r = n < 0 ? -errno : io_write_all(to, buf, (size_t)n);
	}
	return r;
}

/* 1: there is such a file and its content is in `to`; 0: there is none. */
static int fetch(int sock, const char *name, int to, struct err *err)
{
	ImgStreamerReplyEntry *e;
	auto_close int rd = -1;
	uint8_t packed[64];
	uint32_t size = 0;
	int p[2], r = send_request(sock, name);
	bool exists;

	if (r == 0)
		r = io_read_all(sock, &size, sizeof(size));
	if (r == 0 && size <= sizeof(packed))
		r = io_read_all(sock, packed, size);
	if (r < 0 || size > sizeof(packed))
		return streamer_failed(r, name, err);
	e = img_streamer_reply_entry__unpack(NULL, size, packed);
	if (!e)
		return streamer_failed(0, name, err);
	exists = e->exists;
	img_streamer_reply_entry__free_unpacked(e, NULL);
	if (!exists)
		return 0;
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make a pipe for image '%s'", name);
	rd = p[0];
	r = send_fd(sock, p[1]);
	close(p[1]);
	if (r == 0)
		r = copy_all(rd, to);
	return r < 0 ? err_sysn(err, -r, "cannot get image '%s' from the streamer", name) : 1;
}

/* *ret stays NULL if there is no such list. */
static int fetch_names(int sock, int dirfd, char **ret, struct err *err)
{
	auto_close int fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct stat st;
	int r;

	if (fd < 0)
		return err_sys(err, "cannot keep the names of images in memory");
	r = fetch(sock, STREAM_NAMES, fd, err);
	if (r <= 0)
		return r;
	if (fstat(fd, &st) < 0 || st.st_size > NAMES_MOST)
		return err_image(err, "the list of images is too long");
	*ret = calloc(1, (size_t)st.st_size + 1);
	if (!*ret)
		return err_nomem(err);
	r = io_pread_all(fd, *ret, (size_t)st.st_size, 0);
	return r < 0 ? err_sysn(err, -r, "cannot read the list of images") : 0;
}

struct fetcher {
	struct stream_fetcher base;
	int sock, dirfd;
};

static int fetch_file(struct stream_fetcher *base, const char *name, struct err *err)
{
	const struct fetcher *f = (const struct fetcher *)base;
	auto_close int fd = openat(f->dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return errno == EEXIST ? 1 : err_sys(err, "cannot keep image '%s' in memory", name);
	r = fetch(f->sock, name, fd, err);
	if (r == 0)
		unlinkat(f->dirfd, name, 0);
	return r;
}

static int fetch_named(struct fetcher *f, char *names, struct err *err)
{
	struct image_found found;
	char *name;
	int r = 1;

	while (r > 0 && (name = strsep(&names, "\n"))) {
		if (!*name)
			continue;
		if (!image_name_parse(name, &found))
			return err_image(err, "the list of images has a name that is none");
		r = fetch_file(&f->base, name, err);
		if (r == 0)
			return err_image(err, "the image streamer does not have '%s'", name);
	}
	return r < 0 ? r : 0;
}

/* Sets of CRIU have no list of their names. */
static int fetch_all(int sock, int dirfd, struct err *err)
{
	struct fetcher f = { { fetch_file }, sock, dirfd };
	auto_free char *names = NULL;
	int r = fetch_names(sock, dirfd, &names, err);

	if (r == 0 && !names)
		return image_stream_crawl(&f.base, dirfd, err);
	return r < 0 ? r : fetch_named(&f, names, err);
}

int image_stream_gather(const struct stream_plan *plan, int dirfd, int *ret_dirfd, struct err *err)
{
	auto_close int memory = -1;
	auto_close int sock = -1;
	int r = make_memory(&memory, err);

	if (r == 0 && plan->fd >= 0) {
		r = image_stream_take(plan->fd, memory, err);
		close(plan->fd); /* no task shall inherit it */
	} else if (r == 0) {
		r = connect_streamer(dirfd, "streamer-serve.sock", &sock, err);
	}
	if (r == 0 && sock >= 0)
		r = fetch_all(sock, memory, err);
	if (r == 0)
		*ret_dirfd = take_fd(&memory);
	return r;
}
