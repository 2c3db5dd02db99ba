/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Texts of /proc/PID/fdinfo/N (proc_pid_fdinfo(5); fs/proc/fd.c and the show_fdinfo of each file
 * type in the kernel). Every function takes a whole text and never leaves its bounds.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What every descriptor has. */
struct fdinfo {
	uint64_t pos;
	uint32_t flags; /* open(2) flags, with O_CLOEXEC of this descriptor */
	int mnt_id; /* -1 if not told */
	uint64_t ino; /* 0 if not told (before 5.14) */
	bool has_locks; /* there are "lock:" lines */
};

/* False: the text has no pos or flags. */
bool fdinfo_parse(const char *text, struct fdinfo *ret);

struct fdinfo_eventfd {
	uint64_t count;
	bool semaphore; /* told since 6.5 */
};

bool fdinfo_parse_eventfd(const char *text, struct fdinfo_eventfd *ret);
bool fdinfo_parse_signalfd(const char *text, uint64_t *ret_mask);

struct fdinfo_timerfd {
	uint32_t clockid, settime_flags;
	uint64_t ticks;
	uint64_t value_s, value_ns, interval_s, interval_ns;
};

bool fdinfo_parse_timerfd(const char *text, struct fdinfo_timerfd *ret);

struct fdinfo_epoll {
	uint32_t tfd, events;
	uint64_t data, pos, ino;
	uint32_t sdev; /* kernel's form: major << 20 | minor */
};

/* The nth watched file; *at is 0 for the first call and then the place to go on. False: no more. */
bool fdinfo_next_epoll(const char *text, size_t *at, struct fdinfo_epoll *ret);

enum fdinfo_lock_kind { FDINFO_POSIX, FDINFO_FLOCK, FDINFO_OFD, FDINFO_LEASE, FDINFO_OTHER };

struct fdinfo_lock {
	enum fdinfo_lock_kind kind;
	bool write;
	int64_t pid; /* -1 for locks of descriptions */
	uint64_t start, end; /* end UINT64_MAX: to the end of the file */
};

/* The next lock of the descriptor's file that this table (or description) holds. */
bool fdinfo_next_lock(const char *text, size_t *at, struct fdinfo_lock *ret);
