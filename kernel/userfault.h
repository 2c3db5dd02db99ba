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
