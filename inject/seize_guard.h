/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PTRACE_SEIZE without a standstill. A thread in execve(2) waits for the ends of the others of its
 * process, also of those we trace, which have ended only when we have waited for them; and it holds
 * what PTRACE_SEIZE of any thread of that process waits for (cred_guard_mutex: fs/exec.c
 * de_thread(), kernel/ptrace.c ptrace_attach()). So tracer and target would wait for each other for
 * ever. While PTRACE_SEIZE waits under a guard, the ends of the process's other tracees are taken
 * every few milliseconds, by the handler of a timer's signal.
 */
#pragma once
#include "inject/tracee.h"

struct seize_guard;

/* One for any number of calls, of this thread only. Uses SIGRTMAX meanwhile. */
int seize_guard_new(struct seize_guard **ret, struct err *err) must_use;
void seize_guard_free(struct seize_guard *g);
/*
 * tracee_seize() of a thread whose process has others, of which kin are ours already: of them
 * tracee_take_ends(). -ETIMEDOUT (class target) when clock_us() says deadline_us, -EINTR if
 * interrupt_came().
 */
int seize_guarded(struct seize_guard *g, const struct tracee_kin *kin, uint64_t deadline_us,
	struct tracee *t, pid_t tid, pid_t tgid, unsigned options, struct err *err) must_use;
