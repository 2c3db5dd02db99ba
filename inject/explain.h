/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names for system calls in messages. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* "prctl(PR_SET_MM)", "mmap", or "system call 999"; first is the first argument. */
void explain_call(long nr, uint64_t first, char *buf, size_t size);
