/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between kernel/features.c and the files with the probes. Probes return 0 or -errno. */
#pragma once
#include <errno.h>
#include <sys/types.h>

#define FEATURE(id, name, since, category, probe, lost) int probe(void);
#include "kernel/features.def"

/* 0 for a system call that worked. */
static inline int probe_result(long r)
{
	return r < 0 ? -errno : 0;
}

/*
 * Forks a child, which prepares itself and waits, and looks at it from outside; it is gone when
 * this returns. prepare may be NULL.
 */
int probe_in_tracee(int (*prepare)(void), int (*look)(pid_t pid));
