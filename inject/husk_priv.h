/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by husk.c and husk_start.c. */
#pragma once
#include "inject/husk.h"

/* Inside the area: player page, a page with a few words of stack, then the tape, then parking. */
enum { STACK_OFFSET = 4096 + 2048, TAPE_OFFSET = 8192, PARK_OFFSET = 8192 + HUSK_TAPE_MAX + 4096 };

int husk_open_mem(struct husk *h, struct err *err) must_use;
/* Registers of thread tid so that it makes this call by a player that lies at `player`. */
int husk_set_syscall(struct husk *h, pid_t tid, uint64_t player, long nr, const uint64_t args[6],
	struct err *err) must_use;
/* Makes the call and leaves the thread in its syscall-exit stop. */
int husk_syscall(struct husk *h, pid_t tid, uint64_t player, long nr, const uint64_t args[6],
	int64_t *ret, struct err *err) must_use;

/*
 * A pid whose task has been reaped is free for everybody but clone3(2) for a moment longer: its
 * struct pid leaves the table after the task (kernel/exit.c, release_task() since 6.14), and when
 * that is the work of a dying SCHED_IDLE thread it can take long. Whether to try again after
 * EEXIST; sleeps 1 ms, gives up after 5 s.
 */
bool husk_pid_may_be_free(unsigned *tries);
