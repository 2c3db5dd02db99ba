/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread under ptrace. Dump side: seize, stop, play tapes, let go.
 *
 * The promise: torpor may die (SIGKILL) at ANY instant and the target runs on as if nothing had
 * happened. How: all GPRs which an injected run needs to put back stand as immediate operands in
 * the "cave", a few hundred bytes of code written into unused zero bytes of an executable private
 * mapping of the target (the tail of the vdso). Whatever instruction an untraced thread goes on
 * from, it falls through to the cave's end, which restores mask, registers and flags and jumps
 * back. Hence also: no single-stepping (its flag outlives the tracer), no int3.
 *
 *   RUNNING --seize--> STOPPED --tracee_hold--> HELD --tracee_play*--> HELD
 *                         ^                       |
 *                         +------tracee_unhold----+        any --tracee_release--> RUNNING
 *
 * In HELD the process has a scratch area mapped, which tracee_unhold() unmaps.
 */
#pragma once
#include "base/err.h"
#include "inject/tape.h"
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* All of one process's threads are stopped by one of these. */
struct tracee {
	pid_t tid, tgid; /* as this host calls them */
	struct user_regs_struct regs; /* as seen at the stop, raw */
	uint64_t sigmask; /* blocked signals at the stop */
	bool group_stopped; /* was stopped by a stop signal already */
	int stop_signal; /* which one */
	bool seized, stopped;
};

/* Scratch area of a held process, see above. */
struct hold {
	struct tracee *by; /* thread that mapped it */
	uint64_t cave, area;
	size_t area_len;
	uint8_t *saved; /* bytes under the cave */
	int mem; /* /proc/PID/mem, read-write */
	int marker; /* signal that only a tracer notices */
	int cpu; /* processor we pinned ourselves to, -1 not */
};

/* PTRACE_SEIZE with options; does not stop. */
int tracee_seize(struct tracee *t, pid_t tid, pid_t tgid, struct err *err) must_use;
/* Asks for a stop; several may be asked before the first wait. */
int tracee_interrupt(struct tracee *t, struct err *err) must_use;
/* Waits for the stop and fills regs and mask. -ESRCH (class target) if the thread is gone. */
int tracee_wait_stop(struct tracee *t, struct err *err) must_use;
/* Detaches; the thread goes on exactly where it was (or stays in its group stop). */
void tracee_release(struct tracee *t);

/* Maps the scratch area by thread t (which must be stopped, like all others of its process). */
int hold_begin(struct hold *h, struct tracee *t, struct err *err) must_use;
/* Plays the tape in thread t of the held process; results are in the tape; calls tape_check(). */
int hold_play(struct hold *h, struct tracee *t, struct tape *tape, struct err *err) must_use;
/* Unmaps the area, puts back the bytes of the cave. Logs a warning where something stays. */
void hold_end(struct hold *h);
