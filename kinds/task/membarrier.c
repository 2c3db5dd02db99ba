// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of membarrier(2) registrations. MEMBARRIER_CMD_GET_REGISTRATIONS (since 6.3) returns the
 * registering commands themselves as a bit set. Told while the task has one thread: with more, each
 * costs an RCU grace period.
 */
#include "kinds/task/family.h"
#include <sys/syscall.h>

enum { GET_REGISTRATIONS = 512 };

static int membarrier_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[0] =
		tape_call(t, "membarrier", 0, SYS_membarrier, T(GET_REGISTRATIONS), T(0), T(0));
	return 0;
}

static int membarrier_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	int64_t mask = tape_result(t, cue->at[0]);
	TaskCoreEntry *tc = own_tc(l);

	/* older kernels do not know the command; then nobody can tell */
	if (mask > 0) {
		tc->has_membarrier_registration_mask = true;
		tc->membarrier_registration_mask = (uint32_t)mask;
	}
	return 0;
}

static int membarrier_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TaskCoreEntry *tc = tc_of(a->thread);
	uint32_t mask =
		tc && tc->has_membarrier_registration_mask ? tc->membarrier_registration_mask : 0;

	for (unsigned bit = 0; bit < 32; bit++)
		if (mask >> bit & 1)
			tape_call(t, "membarrier", TAPE_MUST, SYS_membarrier, T(1u << bit), T(0),
				T(0));
	return 0;
}

const struct facet facet_membarrier = {
	.name = "membarrier",
	.scope = PER_TASK,
	.phase = PHASE_TASK,
	.ask = membarrier_ask,
	.learn = membarrier_learn,
	.tell = membarrier_tell,
};
