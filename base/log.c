// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static struct {
	int fd;
	enum log_level level;
	struct timespec start;
} sink = { .fd = STDERR_FILENO, .level = LOG_WARN };

void log_open(int fd, enum log_level level)
{
	sink.fd = fd;
	sink.level = level;
	clock_gettime(CLOCK_MONOTONIC, &sink.start);
}

enum log_level log_level(void)
{
	return sink.level;
}

int log_fd(void)
{
	return sink.fd;
}

static int log_time(char *buf, size_t size)
{
	struct timespec now;
	long us;

	if (sink.level < LOG_INFO)
		return 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	us = (now.tv_sec - sink.start.tv_sec) * 1000000 +
		(now.tv_nsec - sink.start.tv_nsec) / 1000;
	return snprintf(buf, size, "(%02ld.%06ld) ", us / 1000000, us % 1000000);
}

/* buf has room for n bytes of text and a newline. */
static void log_write(char *buf, int n, int room)
{
	if (n > room - 2)
		n = room - 2;
	buf[n++] = '\n';
	if (write(sink.fd, buf, (size_t)n) < 0)
		return; /* nowhere to complain */
}

void log_line(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = { [LOG_ERROR] = "Error: ", [LOG_WARN] = "Warn: " };
	char buf[2048];
	va_list ap;
	int n;

	if (level > sink.level || sink.fd < 0)
		return;
	n = log_time(buf, sizeof(buf));
	if (level <= LOG_WARN)
		n += snprintf(buf + n, sizeof(buf) - (size_t)n, "%s", names[level]);
	va_start(ap, fmt);
	n += vsnprintf(buf + n, sizeof(buf) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	log_write(buf, n, sizeof(buf));
}

void log_failure(const char *file, int line, const char *text)
{
	char buf[2048];
	int n;

	if (sink.level < LOG_ERROR || sink.fd < 0)
		return;
	n = log_time(buf, sizeof(buf));
	n += snprintf(buf + n, sizeof(buf) - (size_t)n - 1, "Error (%s:%d): %s", file, line, text);
	log_write(buf, n, sizeof(buf));
}
