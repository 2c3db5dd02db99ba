/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Log lines: one event, lower case, no period, names in single quotes, addresses in hex. A warning
 * says what happens now. Errors are not logged where they happen (base/err.h); main logs the one
 * that ended the run with log_error(). The sink is one of the few file-scope variables.
 */
#pragma once

enum log_level { LOG_NONE, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines go to fd (not owned) up to that level; from LOG_INFO on they start with "(SS.UUUUUU) ". */
void log_open(int fd, enum log_level level);
enum log_level log_level(void);
int log_fd(void);
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The failure that ends a run: "Error (FILE:LINE): TEXT". */
void log_failure(const char *file, int line, const char *text);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                              \
	do {                                        \
		if (log_level() >= LOG_DEBUG)       \
			log_line(LOG_DEBUG, __VA_ARGS__); \
	} while (0)
