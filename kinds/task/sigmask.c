// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the blocked signals. Set last of all (regs_set()), because tapes are played with nearly
 * everything blocked. The leader's mask stands in tc, the others' in their thread_core. For a
 * thread inside sigsuspend(2) it is the mask which that call will put back.
 */
#include "kernel/ptrace.h"
#include "kinds/task/family.h"

static int sigmask_look(struct look *l, struct err *err)
{
	ThreadCoreEntry *core = own_core(l);
	char who[THREAD_NAME];
	uint64_t mask;
	int r = ptrace_get_sigmask(l->tid, &mask);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the signal mask of %s",
			thread_name(l->thread, who, sizeof(who)));
	if (is_leader(l->thread)) {
		own_tc(l)->blk_sigset = mask;
	} else {
		core->has_blk_sigset = true;
		core->blk_sigset = mask;
	}
	return 0;
}

int sigmask_set(const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;
	const TaskCoreEntry *tc = tc_of(a->thread);
	uint64_t mask = 0;
	int r;

	if (is_leader(a->thread) && tc)
		mask = tc->blk_sigset;
	else if (core && core->has_blk_sigset)
		mask = core->blk_sigset;
	r = ptrace_set_sigmask(a->tid, mask);
	return r < 0 ? err_sysn(err, -r, "cannot set its signal mask") : 0;
}

const struct facet facet_sigmask = {
	.name = "sigmask",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.look = sigmask_look,
};
