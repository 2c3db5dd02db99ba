// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/io.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

int io_read_all(int fd, void *buf, size_t len)
{
	for (char *p = buf; len;) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_pread_all(int fd, void *buf, size_t len, off_t at)
{
	for (char *p = buf; len;) {
		ssize_t n = pread(fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_await(int fd, short events, unsigned patience_s)
{
	enum { SLICE_MS = 500 };
	struct pollfd p = { .fd = fd, .events = events };
	uint64_t since = clock_us();

	for (;;) {
		int n = poll(&p, 1, SLICE_MS);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (interrupt_came())
			return -EINTR;
		if (patience_s && clock_us() - since > 1000000ull * patience_s)
			return -ETIMEDOUT;
	}
}

/* What to do after a write that failed: 0 is to try again. */
static int after_failure(int fd, unsigned patience_s)
{
	if (errno == EINTR)
		return 0;
	return errno == EAGAIN ? io_await(fd, POLLOUT, patience_s) : -errno;
}

int io_write_all(int fd, const void *buf, size_t len)
{
	return io_write_patient(fd, buf, len, 0);
}

int io_write_patient(int fd, const void *buf, size_t len, unsigned patience_s)
{
	for (const char *p = buf; len;) {
		ssize_t n = write(fd, p, len);

		if (n < 0) {
			int r = after_failure(fd, patience_s);

			if (r < 0)
				return r;
			continue;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_writev_all(int fd, struct iovec *iov, int n, unsigned patience_s)
{
	while (n > 0) {
		ssize_t done = writev(fd, iov, n);

		if (done < 0) {
			int r = after_failure(fd, patience_s);

			if (r < 0)
				return r;
			continue;
		}
		for (; n > 0 && (size_t)done >= iov->iov_len; n--)
			done -= (ssize_t)iov++->iov_len;
		if (n > 0) {
			iov->iov_base = (char *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

int io_pwrite_all(int fd, const void *buf, size_t len, off_t at)
{
	for (const char *p = buf; len;) {
		ssize_t n = pwrite(fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int slurp_fd(int fd, char **ret_text, size_t *ret_len)
{
	size_t room = 4096, len = 0;
	auto_free char *text = malloc(room + 1);

	if (!text)
		return -ENOMEM;
	for (;;) {
		ssize_t n;

		if (len == room) {
			char *more = realloc(text, 2 * room + 1);

			if (!more)
				return -ENOMEM;
			text = more;
			room *= 2;
		}
		n = read(fd, text + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = 0;
	*ret_text = take_ptr(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int io_slurp_at(int dirfd, const char *path, char **ret_text, size_t *ret_len)
{
	auto_close int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : slurp_fd(fd, ret_text, ret_len);
}

int io_slurp(const char *path, char **ret_text, size_t *ret_len)
{
	return io_slurp_at(AT_FDCWD, path, ret_text, ret_len);
}

int io_slurpf(char **ret_text, size_t *ret_len, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return io_slurp(path, ret_text, ret_len);
}

int io_put(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

uint64_t clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
