/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting until something is so. Where others compute, a subject may need long for its next step. */
#pragma once
#include "base/cleanup.h"
#include "base/io.h"
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000 };

/* As tracee_wait_stop() wants it: a time on clock_us(). */
static inline uint64_t patience_ends(void)
{
	return clock_us() + 1000ull * PATIENCE_MS;
}

/* Whether the child gets as far as to sleep in the system call of that number (not 0). */
static inline bool sleeps_in_call(pid_t pid, long nr)
{
	for (uint64_t end = patience_ends(); clock_us() < end; usleep(1000)) {
		auto_free char *text = NULL;

		/* "running" while it does not sleep */
		if (io_slurpf(&text, NULL, "/proc/%d/syscall", pid) == 0 && atol(text) == nr)
			return true;
	}
	return false;
}
