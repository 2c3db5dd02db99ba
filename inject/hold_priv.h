/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of hold.h: threads under our hand, and system calls made through the cave. */
#pragma once
#include "inject/hold.h"

int hold_resume(pid_t tid, int request, struct err *err) must_use;
/* tracee_wait() with patience: -ETIMEDOUT or -EINTR, and the hold is adrift. */
int hold_wait(struct hold *h, pid_t tid, int *ret_status, struct err *err) must_use;
/* Makes the cave the way home of thread t, unless it is that already. */
int hold_load_cave(struct hold *h, struct tracee *t, struct err *err) must_use;
/* Registers first, then the mask for playing; the thread still has to be resumed. */
int hold_start_at(struct hold *h, struct tracee *t, const struct user_regs_struct *regs,
	struct err *err) must_use;
/* On its way to the player, whose registers these are, or back from there: see hold.h. */
int hold_enter_player(struct hold *h, struct tracee *t, const struct user_regs_struct *regs,
	struct err *err) must_use;
int hold_leave_player(struct hold *h, struct tracee *t, struct err *err) must_use;
/* Mask first, then registers: see hold.h. The thread must be in a stop inside get_signal(). */
int hold_put_back(struct tracee *t, struct err *err) must_use;

/* One system call by the cave's first instruction. */
struct cave_call {
	struct hold *h;
	struct tracee *t;
	long nr;
	uint64_t args[6];
	int64_t ret;
};

/* The calls of many processes, each step in all of them before the next one. */
int hold_call(struct cave_call *c, size_t n, struct err *err) must_use;
/* After hold_call(), which returned r: judges each result. */
int hold_judge(struct cave_call *c, size_t n, int (*judge)(struct cave_call *, struct err *), int r,
	struct err *err) must_use;
/* After a step of one of many: the first error is kept in *ret, a hold that failed is left alone. */
void hold_note(struct hold *h, int r, int *ret);
