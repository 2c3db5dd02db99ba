// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/husk_queue.h"
#include <errno.h>

void husk_later(struct husk_queue *q, struct husk *h, pid_t tid, struct tape *take_tape,
	husk_after *after, void *take_ctx)
{
	struct husk_waiting w = { .turn = { .h = h, .tid = tid, .tape = take_tape },
		.after = after, .ctx = take_ctx };

	vec_push(q, w);
}

static int follow(struct husk_waiting *w, int played, struct err *err)
{
	int r = w->after ? w->after(w->ctx, w->turn.tape, played, err) : played;

	tape_free(w->turn.tape);
	w->turn.tape = NULL;
	return r;
}

static int play(struct husk_queue *q, struct err *err)
{
	struct husk_turn *turns = reallocarray(NULL, q->n, sizeof(*turns));
	int r;

	if (!turns)
		return err_nomem(err);
	for (size_t i = 0; i < q->n; i++)
		turns[i] = q->at[i].turn;
	r = husk_play_all(turns, q->n, err);
	for (size_t i = 0; i < q->n; i++)
		q->at[i].turn.result = turns[i].result;
	free(turns);
	return r;
}

int husk_settle(struct husk_queue *q, struct err *err)
{
	struct err ignored = ERR_INIT;
	int r = q->n ? play(q, err) : 0;

	/* the one that failed first has its say first, as long as the error is its own */
	for (size_t i = 0; i < q->n && r < 0; i++) {
		if (q->at[i].turn.result == 0 || q->at[i].turn.result == -ECANCELED)
			continue;
		(void)!follow(&q->at[i], q->at[i].turn.result, err);
		break;
	}
	vec_each(w, q) {
		int rf;

		if (!w->turn.tape)
			continue;
		rf = follow(w, r < 0 ? -ECANCELED : 0, r < 0 ? &ignored : err);
		r = r < 0 ? r : rf;
	}
	q->n = 0;
	return r;
}

int husk_settle_many(struct husk_queue *q, struct err *err)
{
	return q->n < HUSK_TOGETHER ? 0 : husk_settle(q, err);
}

void husk_queue_done(struct husk_queue *q)
{
	struct err ignored = ERR_INIT;

	vec_each(w, q)
		(void)!follow(w, -ECANCELED, &ignored);
	vec_done(q);
}
