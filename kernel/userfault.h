/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * userfaultfd(2) as a tracker of writes (Documentation/admin-guide/mm/userfaultfd.rst, WP_ASYNC,
 * since Linux 6.7): pages of registered areas which page_scan_written() has write-protected become
 * writable again, and "written", at their first write. The kernel resolves these faults itself,
 * those of its own writes included, so nobody reads the descriptor; but when its last duplicate is
 * closed, all areas are released and all their pages read as written.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum {
	/* Flags for userfaultfd(2). The last one lets tasks without privilege have one (since 5.11). */
	USERFAULT_FLAGS = 02000000 /* O_CLOEXEC */ | 04000 /* O_NONBLOCK */ | 1 /* UFFD_USER_MODE_ONLY */,
};

/* Makes a new descriptor a tracker. */
int userfault_begin_tracking(int fd, struct err *err) must_use;
/*
 * Registers the areas of [start, end), all of them or none; those it has already are fine. It acts
 * on the address space in which the descriptor was made. -EBUSY: another userfaultfd has one of
 * them, -EINVAL: of a kind that cannot be tracked, -ENOMEM: the address space is gone.
 */
int userfault_track(int fd, uint64_t start, uint64_t end) must_use;
/* Whether the address space in which the descriptor was made is still there (execve(2), exit(2)). */
bool userfault_lives(int fd);

/*
 * The same thing as a bringer of pages (UFFD_MODE_MISSING): who touches an absent page of a
 * registered area waits until it was brought. What the task does to its areas meanwhile is told as
 * events; it waits until they are read, and until then bringing fails with -EAGAIN.
 */
enum userfault_event_kind {
	USERFAULT_PAGE = 0x12,	/* start: the address that was touched */
	USERFAULT_FORK = 0x13,	/* fd: for the copy of the address space */
	USERFAULT_MOVE = 0x14,	/* start, len -> to */
	USERFAULT_DROP = 0x15,	/* start to end read as zeros now (madvise(2)) */
	USERFAULT_UNMAP = 0x16, /* start to end are gone */
};

struct userfault_event {
	enum userfault_event_kind kind;
	uint64_t start, end, to, len;
	int fd;
};

/* USERFAULT_FLAGS without what would leave the kernel's own accesses out. Needs CAP_SYS_PTRACE. */
enum { USERFAULT_LAZY_FLAGS = USERFAULT_FLAGS & ~1 };

int userfault_begin_bringing(int fd, struct err *err) must_use;
/* As userfault_track(), for absent pages. */
int userfault_watch(int fd, uint64_t start, uint64_t end) must_use;
/* Up to n events: their number, 0 if there is none now, or -errno. */
int userfault_events(int fd, struct userfault_event *ret, size_t n) must_use;
/*
 * Puts pages of `page` bytes at `to`; zeros without `from`, which huge ones cannot do. *ret_done
 * bytes are there afterwards, by us or already. 0, or -EAGAIN (read the events first), -ENOENT
 * (nothing of the kind is mapped there any more), -ESRCH (the address space is gone). Who waits for
 * the pages goes on.
 */
int userfault_bring(int fd, uint64_t to, const void *from, uint64_t len, uint64_t page,
	uint64_t *ret_done) must_use;
/* Whoever touches this range gets SIGBUS (since 6.6). */
int userfault_poison(int fd, uint64_t start, uint64_t len) must_use;
