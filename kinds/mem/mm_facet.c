// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What of an address space only its owner can tell: where the heap ends (/proc shows no more than
 * the area [heap], whose end is rounded, or missing) and the flag of PR_SET_THP_DISABLE, with its
 * modifiers since Linux 6.18. mm_build() gives both back.
 */
#include "kinds/mem/mm.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

static int facet_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[0] = tape_call(t, "mm", 0, SYS_brk, T(0));
	cue->at[1] = tape_call(t, "mm", 0, SYS_prctl, T(PR_GET_THP_DISABLE), T(0), T(0), T(0), T(0));
	return 0;
}

static int facet_learn(const struct tape *t, struct look *l, const struct cue *cue,
	struct err *err)
{
	struct task *task = l->thread->task;
	int64_t brk = tape_result(t, cue->at[0]), thp = tape_result(t, cue->at[1]);

	if (!task->mm)
		return err_bug(err, "the memory of task %d was not looked at", task->pid);
	if (brk > 0)
		task->mm->mm_brk = (uint64_t)brk;
	task->mm->has_thp_disabled = true;
	task->mm->thp_disabled = thp > 0;
	if (thp > 1) {
		task->extra->has_thp_flags = true;
		task->extra->thp_flags = (uint32_t)thp & ~1u;
	}
	return 0;
}

const struct facet facet_mm = {
	.name = "mm",
	.scope = PER_TASK,
	.phase = PHASE_TASK,
	.ask = facet_ask,
	.learn = facet_learn,
};
