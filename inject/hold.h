/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Playing tapes in a living target.
 *
 * The promise: torpor may die (SIGKILL) at ANY instant and the target runs on as if nothing had
 * happened. How it is kept:
 *
 * - The "cave": a few hundred bytes of code in unused zero bytes of an executable private mapping
 *   of the target (the tail of the vdso, else of a file's last page). First comes a system call,
 *   then code that puts back the signal mask and, from immediate operands, every register, and
 *   jumps to where the thread was. A thread that we left anywhere on the way falls through it.
 * - The player ends by jumping into the cave, which unmaps the scratch area (player, tape).
 * - Between, we take control back by a marker: the last call of a tape sends the thread a signal
 *   which it ignores. Only a tracer notices an ignored signal (kernel/signal.c, sig_ignored()).
 * - Order: cave before registers, registers before mask; on the way back mask before registers. A
 *   tape is played on a stack in the scratch area, which has no room for a signal's handler: so
 *   on both ways between home and player the thread stands before the cave, on its own stack, while
 *   its mask changes (the cave's call unmaps the area then).
 * - No single step (its flag outlives the tracer) and no breakpoint instruction.
 * - A thread stopped inside a system call gets its raw registers back in a stop inside
 *   get_signal(), so the kernel itself restarts or interrupts the call as if we had not been there.
 */
#pragma once
#include "inject/tape.h"
#include "inject/tick.h"
#include "inject/tracee.h"

enum { HOLD_TAPE_MAX = 192 * 1024 };

/* A process, all of whose threads are stopped, with a scratch area mapped into it. */
struct hold {
	struct tracee *by; /* the thread that mapped it */
	struct tracee *loaded; /* whose registers stand in the cave */
	uint64_t cave, area;
	size_t area_len;
	int mem; /* /proc/PID/mem, read-write */
	int marker; /* the ignored signal */
	bool dirty; /* the cave is written */
	bool failed; /* a step of it failed; only hold_end() may follow */
	bool adrift; /* a thread did not stop again: it finds home by itself, through the cave */
	unsigned patience_s; /* how long a stop is waited for, 0: for ever */
	struct tick tick; /* of the first of those that were begun together */
};

/* A tape for one thread of a held process. */
struct hold_turn {
	struct hold *h;
	struct tracee *t;
	struct tape *tape;
	uint8_t *buf; /* hold_play()'s own */
	size_t size;
};

/*
 * All three work on n processes at once: a step is begun in every one of them before the first is
 * waited for, so that n processes take little longer than one. When one fails, the step is still
 * brought to its end in the others, and the first error is returned.
 */

/*
 * Maps the scratch areas, h[i] by thread t[i] (seized with PTRACE_O_TRACESYSGOOD). On failure
 * nothing remains. A thread that is kept from running (by a frozen control group, say) is waited
 * for patience_s seconds at a time (0: for ever), here and below: -ETIMEDOUT; when it runs again it
 * goes on as if nothing had happened. SIGALRM and ITIMER_REAL are in use until hold_end().
 */
int hold_begin(struct hold *h, struct tracee *const *t, size_t n, unsigned patience_s,
	struct err *err) must_use;
/*
 * Plays the tapes, one for each hold at most; their results are in them then. Calls that failed are
 * the rooms' business (tape_check() is not called). A tape grows by its own last calls.
 */
int hold_play(struct hold_turn *turns, size_t n, struct err *err) must_use;
/* Unmaps the areas and clears the caves. Warns where something has to stay. */
void hold_end(struct hold *h, size_t n);
