/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /proc/PID/stat and /proc/PID/task/TID/stat (proc(5), do_task_stat() in fs/proc/array.c). Needs
 * PTRACE_MODE_READ for the addresses, which are 0 otherwise.
 */
#pragma once
#include "base/err.h"
#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
	pid_t pid;
	char comm[64]; /* raw, may hold blanks, parentheses and newlines; cut to fit */
	char state;    /* R S D T t Z X I */
	pid_t ppid, pgrp, session;
	int32_t tty_nr; /* device number, 0 none */
	pid_t tpgid;	/* -1 none */
	uint32_t flags; /* PF_* */
	int64_t priority, nice, num_threads;
	uint64_t starttime; /* clock ticks since boot */
	uint64_t vsize;
	int64_t rss; /* pages */
	uint64_t start_code, end_code, start_stack;
	uint64_t exit_signal; /* sent to the parent at its end */
	uint64_t rt_priority, policy;
	uint64_t start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end;
	int32_t exit_code; /* wait status of a zombie */
};

/* Robust against every comm: the last ')' of the text ends it. */
int proc_stat_parse(const char *text, struct proc_stat *ret, struct err *err) must_use;
