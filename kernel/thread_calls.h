/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System calls about another thread which libc has no function for. All return -errno and set no
 * error object.
 */
#pragma once
#include "base/err.h"
#include <stdint.h>
#include <sys/types.h>

/* struct sched_attr of linux/sched/types.h, version 1 (56 bytes, since 5.3). */
struct sched_attrs {
	uint32_t size, policy;
	uint64_t flags;			    /* SCHED_FLAG_* */
	int32_t nice;			    /* SCHED_NORMAL, SCHED_BATCH */
	uint32_t priority;		    /* SCHED_FIFO, SCHED_RR */
	uint64_t runtime, deadline, period; /* SCHED_DEADLINE, nanoseconds */
	uint32_t util_min, util_max;
};

enum {
	SCHED_ATTR_RESET_ON_FORK = 0x01,
	SCHED_ATTR_UTIL_MIN = 0x20,
	SCHED_ATTR_UTIL_MAX = 0x40,
	IOPRIO_CLASS_BITS = 13, /* linux/ioprio.h: class << 13 | level */
};

int thread_get_sched(pid_t tid, struct sched_attrs *ret) must_use;
int thread_set_sched(pid_t tid, const struct sched_attrs *a) must_use;
/* ioprio_get(2), ioprio_set(2) */
int thread_get_ioprio(pid_t tid, uint32_t *ret) must_use;
int thread_set_ioprio(pid_t tid, uint32_t ioprio) must_use;
/* get_robust_list(2); needs PTRACE_MODE_READ */
int thread_get_robust_list(pid_t tid, uint64_t *ret_head, uint64_t *ret_len) must_use;
/* sched_getaffinity(2): bytes written into mask (-EINVAL: room too small), sched_setaffinity(2) */
int thread_get_affinity(pid_t tid, void *mask, size_t room) must_use;
int thread_set_affinity(pid_t tid, const void *mask, size_t len) must_use;
/* rt_tgsigqueueinfo(2), or rt_sigqueueinfo(2) to the whole process if tid is 0; info: 128 bytes */
int thread_queue_signal(pid_t tgid, pid_t tid, int signo, const void *info) must_use;
