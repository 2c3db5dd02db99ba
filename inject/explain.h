/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names for system calls, and places in them, in messages. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* "prctl(PR_SET_MM)", "mmap", or "system call 999"; first is the first argument. */
void explain_call(long nr, uint64_t first, char *buf, size_t size);
/*
 * The system call in which a thread is blocked and its first argument (proc(5): syscall). False: it
 * runs, is in none, or the kernel does not tell.
 */
bool current_call(pid_t tid, uint64_t *ret_nr, uint64_t *ret_first);
/*
 * Where a thread waits inside the kernel: "read, at folio_wait_bit_common" (proc(5): syscall, wchan);
 * empty if the kernel does not tell.
 */
void explain_place(pid_t tid, char *buf, size_t size);
/*
 * "its control group '/a/b' is frozen; thaw it (cgroup.freeze)", if that is so; then a task does not
 * run, not even when it is traced, and one of version 1 is not even stopped.
 */
bool explain_frozen(pid_t tid, char *buf, size_t size);
