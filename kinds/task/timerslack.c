// SPDX-License-Identifier: GPL-2.0-or-later
/* Room of the timer slack of each thread: PR_SET_TIMERSLACK. Inherited by clone, so always told. */
#include "kinds/task/family.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { DEFAULT_SLACK_NS = 50000 };

static int slack_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[0] = tape_call(t, "timerslack", 0, SYS_prctl, T(PR_GET_TIMERSLACK));
	return 0;
}

static int slack_learn(const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	int64_t ns = tape_result(t, cue->at[0]);
	TorporThreadEntry *extra = l->thread->extra;

	/* 0: a real-time thread has none (since 6.13), it cannot be set either */
	if (ns > 0 && ns != DEFAULT_SLACK_NS) {
		extra->has_timerslack_ns = true;
		extra->timerslack_ns = (uint64_t)ns;
	}
	return 0;
}

static int slack_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TorporThreadEntry *extra = a->thread->extra;

	tape_call(t, "timerslack", 0, SYS_prctl, T(PR_SET_TIMERSLACK),
		T(extra->has_timerslack_ns ? extra->timerslack_ns : DEFAULT_SLACK_NS));
	return 0;
}

const struct facet facet_timerslack = {
	.name = "timerslack",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.ask = slack_ask,
	.learn = slack_learn,
	.tell = slack_tell,
};
