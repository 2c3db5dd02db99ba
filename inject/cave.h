/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The self-curing code of hold.h: where it fits, what it is. x86-64. */
#pragma once
#include "base/err.h"
#include "inject/tracee.h"
#include <stddef.h>
#include <stdint.h>

enum { CAVE_LEN = 224 };

/*
 * Code for a thread stopped with these raw registers and mask: `syscall`, then everything back as
 * it would be after the stop (an interrupted system call is entered again).
 */
void cave_build(const struct user_regs_struct *regs, uint64_t sigmask, uint8_t code[CAVE_LEN]);
/*
 * Address for a cave in an executable private mapping of process pid, all of whose threads we trace
 * and have stopped: unused zero bytes, or the cave of a torpor that was killed.
 */
int cave_find(pid_t pid, int mem, uint64_t *ret, struct err *err) must_use;
