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

static int log_prefix(enum log_level level, char *buf, size_t size)
{
	static const char *const names[] = { [LOG_ERROR] = "Error: ", [LOG_WARN] = "Warn: " };
	struct timespec now;
	long us;
	int n = 0;

	if (sink.level >= LOG_INFO) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		us = (now.tv_sec - sink.start.tv_sec) * 1000000 +
			(now.tv_nsec - sink.start.tv_nsec) / 1000;
		n = snprintf(buf, size, "(%02ld.%06ld) ", us / 1000000, us % 1000000);
	}
	if (level <= LOG_WARN)
		n += snprintf(buf + n, size - (size_t)n, "%s", names[level]);
	return n;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char buf[2048];
	va_list ap;
	int n, m;

	if (level > sink.level || sink.fd < 0)
		return;
	n = log_prefix(level, buf, sizeof(buf));
	va_start(ap, fmt);
	m = vsnprintf(buf + n, sizeof(buf) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n += m;
	if (n > (int)sizeof(buf) - 2)
		n = (int)sizeof(buf) - 2;
	buf[n++] = '\n';
	if (write(sink.fd, buf, (size_t)n) < 0)
		return; /* nowhere to complain */
}
