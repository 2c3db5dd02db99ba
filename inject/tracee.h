/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread of the target under ptrace: seize, stop, look, let go. Playing tapes in it: hold.h.
 *
 *   RUNNING --tracee_seize--> SEIZED --tracee_interrupt, tracee_wait_stop--> STOPPED
 *   SEIZED, STOPPED --tracee_release--> RUNNING (or back in its group stop)
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct tracee {
	pid_t tid, tgid; /* as this host calls them */
	struct user_regs_struct regs; /* as seen at the stop, raw */
	uint64_t sigmask; /* blocked signals at the stop */
	bool group_stopped; /* was stopped by a stop signal already */
	int stop_signal; /* which one */
	bool seized, stopped;
};

/*
 * Tracees of one process, some of which may end because another thread of it calls execve(2). That
 * call waits until we have waited for their ends, so whoever waits for one thread of a process must
 * take the ends of all.
 */
struct tracee_kin {
	const struct tracee *at;
	size_t n;
};

/* Whose end was taken is -ESRCH for tracee_wait_stop(). Async-signal-safe. */
void tracee_take_ends(const struct tracee_kin *kin);

/*
 * PTRACE_SEIZE with these PTRACE_O_* options, of the only thread of a process (else seize_guarded());
 * does not stop. What is ours already stays so. -ESRCH (class target) if there is no such thread (any
 * more) or it has ended, -EPERM with the tracer's pid if somebody else traces it.
 */
int tracee_seize(struct tracee *t, pid_t tid, pid_t tgid, unsigned options, struct err *err)
	must_use;
/* What has become of such a call, which returned 0 or a negative errno; results as above. */
int tracee_seized(struct tracee *t, pid_t tid, pid_t tgid, int result, struct err *err) must_use;
/*
 * Asks for a stop; many threads may be asked before the first wait. -ESRCH: it has ended, or became
 * the leader by execve(2); then this one has been asked, if it is ours.
 */
int tracee_interrupt(struct tracee *t, struct err *err) must_use;
/*
 * Waits until clock_us() says so for the stop and fills regs and mask; signals met on the way are
 * delivered. -ETIMEDOUT when the thread does not come out of the kernel, -ESRCH when it ends
 * instead. The end of a leader is told only after all other threads' ends have been waited for, so
 * the leader comes last; one that ends alone is noticed, too. kin may be NULL.
 */
int tracee_wait_stop(struct tracee *t, uint64_t deadline_us, const struct tracee_kin *kin,
	struct err *err) must_use;
/*
 * For a thread that stopped before others of its process, which may have ended it by exit_group(2),
 * or by execve(2), after which another one goes by the leader's number. Waits for the end or new
 * stop if so; results as above.
 */
int tracee_still_stopped(struct tracee *t, uint64_t deadline_us, const struct tracee_kin *kin,
	struct err *err) must_use;
/* Detaches; the thread goes on exactly where it was, or stays in its group stop. */
void tracee_release(struct tracee *t);

/* waitpid(2) for one thread that is expected to stop; its end is -ESRCH. */
int tracee_wait(pid_t tid, int *ret_status, struct err *err) must_use;
/* The event of a stop status: PTRACE_EVENT_* or 0. */
static inline int tracee_event(int status)
{
	return status >> 16;
}
/* Registers for one system call whose instruction stands at rip; the others stay. */
static inline void tracee_aim(struct user_regs_struct *regs, uint64_t rip, long nr, const uint64_t args[6])
{
	regs->rip = rip;
	regs->orig_rax = (unsigned long)-1;
	regs->rax = (unsigned long)nr;
	regs->rdi = args[0];
	regs->rsi = args[1];
	regs->rdx = args[2];
	regs->r10 = args[3];
	regs->r8 = args[4];
	regs->r9 = args[5];
}
