/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tapes that wait to be played together. A stage goes through its tasks, each leaves a tape of one
 * husk's thread (husk_later), and husk_settle() plays all of them: while one husk is waited for the
 * others play, on all processors. Before a husk gets anything else to do, its tape must be settled.
 */
#pragma once
#include "base/vec.h"
#include "inject/husk.h"

/*
 * What follows a tape: called once for each, whatever happened. played is 0 or why it was not
 * played to a good end (err says it already); owns ctx. Returns played or its own failure.
 */
typedef int husk_after(void *ctx, const struct tape *tape, int played, struct err *err);

struct husk_waiting {
	struct husk_turn turn;
	husk_after *after;
	void *ctx;
};

struct husk_queue vec_of(struct husk_waiting);

/* So many wait that it is time to settle: more would save nothing. */
enum { HUSK_TOGETHER = 64 };

/* Queues a tape for h's thread tid (0: its leader); the queue frees it. after may be NULL. */
void husk_later(struct husk_queue *q, struct husk *h, pid_t tid, struct tape *take_tape,
	husk_after *after, void *take_ctx);
/* Plays all that waits, then what follows each, in the order of queueing; the first failure. */
int husk_settle(struct husk_queue *q, struct err *err) must_use;
/* The same if there are HUSK_TOGETHER. */
int husk_settle_many(struct husk_queue *q, struct err *err) must_use;
/* After settling or to give up: frees, and tells all followers that nothing was played. */
void husk_queue_done(struct husk_queue *q);
