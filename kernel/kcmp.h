/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which kernel objects are the same: kcmp(2). It also puts them into a total order (of scrambled
 * addresses), which stays the same until the next boot; hence searching among n costs log n.
 */
#pragma once
#include "base/err.h"
#include <linux/kcmp.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Compares two objects; idx are descriptor numbers for KCMP_FILE, else 0. 0 equal, 1 first is
 * less, 2 first is greater, or a negative errno (-ESRCH: a task is gone or has no such object;
 * kcmp(2)).
 */
int kcmp_objects(pid_t pid1, pid_t pid2, enum kcmp_type type, unsigned long idx1,
	unsigned long idx2) must_use;
/* Descriptor of pid1 against the nth file which epoll descriptor efd of pid2 watches as tfd. */
int kcmp_epoll(pid_t pid1, int fd, pid_t pid2, uint32_t efd, uint32_t tfd, uint32_t nth) must_use;
