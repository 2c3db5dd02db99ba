/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What dump and restore call of the task rooms beside the facets: registers need an exact moment.
 */
#pragma once
#include "kinds/kind.h"
#include <sys/user.h>

/*
 * Dump: fills thread_info from the registers as seen at the stop (after rseq_fix_ip()) and from the
 * thread's extended registers. Before anything is injected. An interrupted system call is set back
 * to be started again, as the kernel would for a signal without handler.
 */
int regs_look(struct look *l, const struct user_regs_struct *regs, struct err *err) must_use;
/* What regs_look() has told: whether the thread begins this call (again), with which argument. */
bool regs_call(const CoreEntry *core, uint64_t nr, uint64_t *ret_first);
/* The call it would begin has ended already. */
void regs_end_call(struct thread *t, int64_t result);
/*
 * Restore, the very last thing before detaching: general and extended registers, blocked signals,
 * and the pending signals that could not be queued earlier.
 */
int regs_set(const struct arise *a, struct err *err) must_use;
/*
 * Dump, right after the stop: a thread inside a restartable sequence goes on at its abort handler,
 * as after any preemption (linux/rseq.h). 1 if regs->rip was moved, else 0. Whoever plays tapes in
 * the thread must let it go on with these registers. mem: /proc/PID/mem, readable.
 */
int rseq_fix_ip(pid_t tid, int mem, struct user_regs_struct *regs, struct err *err) must_use;
/* Makes the sub-messages a core needs: tc for a leader, thread_core and thread_info if it lives. */
void core_ensure(struct world *w, struct thread *th);
