/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Texts of /proc/PID/fdinfo/N (proc_pid_fdinfo(5); fs/proc/fd.c and the show_fdinfo of each file
 * type in the kernel). Most functions take a whole text; those that go through a list, one that
 * cursor_of() has made, which they move on. None leaves the bounds of the text.
 */
#pragma once
#include "base/parse.h"
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
/* Whether a BPF map is frozen; the memory it takes. */
bool fdinfo_parse_bpfmap(const char *text, uint64_t *ret_memlock);
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

/* The next watched file. False: no more. */
bool fdinfo_next_epoll(struct cursor *c, struct fdinfo_epoll *ret);

bool fdinfo_parse_pidfd(const char *text, int64_t *ret_pid);

/* A file handle (name_to_handle_at(2)); no bytes: the file system has none. */
struct fdinfo_handle {
	uint32_t bytes, type;
	uint8_t data[128];
};

/* Something that is watched; devices in the kernel's form. */
struct fdinfo_watch {
	uint32_t wd, mask, ignored;
	uint64_t ino;
	uint32_t sdev;
	struct fdinfo_handle handle;
};

/* The next watch of an inotify descriptor. */
bool fdinfo_next_inotify(struct cursor *c, struct fdinfo_watch *ret);

enum fdinfo_mark_kind { FDINFO_MARK_INODE, FDINFO_MARK_MOUNT, FDINFO_MARK_FS, FDINFO_MARK_OTHER };

struct fdinfo_mark {
	enum fdinfo_mark_kind kind;
	uint32_t mflags; /* FAN_MARK_IGNORED_SURV_MODIFY, FAN_MARK_EVICTABLE, FAN_MARK_IGNORE */
	int mnt_id; /* of a mount mark */
	struct fdinfo_watch watch; /* wd is 0 */
};

/* What fanotify_init(2) was given. */
bool fdinfo_parse_fanotify(const char *text, uint32_t *ret_flags, uint32_t *ret_event_flags);
/* The next mark of a fanotify descriptor. */
bool fdinfo_next_mark(struct cursor *c, struct fdinfo_mark *ret);

enum fdinfo_lock_kind { FDINFO_POSIX, FDINFO_FLOCK, FDINFO_OFD, FDINFO_LEASE, FDINFO_OTHER };

struct fdinfo_lock {
	enum fdinfo_lock_kind kind;
	bool write;
	bool breaking, none; /* a lease that is being broken; nothing is to be left of it */
	int64_t pid; /* -1 for locks of descriptions */
	uint64_t start, end; /* end UINT64_MAX: to the end of the file */
};

/* The next lock of the descriptor's file that this table (or description) holds. */
bool fdinfo_next_lock(struct cursor *c, struct fdinfo_lock *ret);
