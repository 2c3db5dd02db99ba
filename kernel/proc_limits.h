/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /proc/PID/limits: resource limits (proc_pid_limits() in fs/proc/base.c). */
#pragma once
#include "base/err.h"
#include <stdint.h>

enum { PROC_N_LIMITS = 16 }; /* RLIM_NLIMITS */

struct proc_limits {
	struct {
		uint64_t cur, max; /* UINT64_MAX: unlimited, as RLIM_INFINITY */
	} at[PROC_N_LIMITS];	   /* by RLIMIT_* number */
};

int proc_limits_parse(const char *text, struct proc_limits *ret, struct err *err) must_use;
/* "open files" for RLIMIT_NOFILE and so on; "limit 99" never appears: number must be below 16. */
const char *proc_limit_name(unsigned number);
