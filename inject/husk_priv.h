/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by husk.c, husk_birth.c, husk_start.c and husk_wait.c. */
#pragma once
#include "inject/husk.h"

/* Inside the area: player page, a page with a few words of stack, then the tapes, then parking. */
enum {
	STACK_OFFSET = 4096 + 2048,
	TAPE_OFFSET = 8192,
	TAPES_LEN = HUSK_TAPE_MAX + 4096, /* what ends a tape comes on top of its limit */
	PARK_OFFSET = TAPE_OFFSET + TAPES_LEN,
	END_ROOM = 512, /* of the calls that end a tape */
};

/* Registers of thread tid so that it makes this call by a player that lies at `player`. */
int husk_set_syscall(struct husk *h, pid_t tid, uint64_t player, long nr, const uint64_t args[6],
	struct err *err) must_use;
/* On to the next stop at a system call's entry or end, in two halves. */
int husk_to_syscall_stop(pid_t tid, struct err *err) must_use;
int husk_wait_syscall_stop(pid_t tid, struct err *err) must_use;

/*
 * tracee_wait() with the layout's patience: -ETIMEDOUT when the thread has not run for so long,
 * -EINTR when torpor is interrupted. Between tick_begin() and tick_end() only.
 */
int husk_wait(const struct husk *h, pid_t tid, int *ret_status, struct err *err) must_use;

/*
 * A pid whose task has been reaped is free for everybody but clone3(2) for a moment longer: its
 * struct pid leaves the table after the task (kernel/exit.c, release_task() since 6.14), and when
 * that is the work of a dying SCHED_IDLE thread it can take long. Whether to try again after
 * EEXIST; sleeps 1 ms, gives up after 5 s.
 */
bool husk_pid_may_be_free(unsigned *tries);
