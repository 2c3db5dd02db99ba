// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the dumpable flag: PR_SET_DUMPABLE, kept in the memory message as other tools do. Every
 * change of credentials of any thread resets it for the whole process, so each thread sets it again
 * after its own. The value 2 (readable by root only) cannot be set by prctl(2); 0 protects at least
 * as well.
 */
#include "kinds/task/family.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

static int dumpable_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	if (is_speaker(l->thread))
		cue->at[0] = tape_call(t, "dumpable", 0, SYS_prctl, T(PR_GET_DUMPABLE));
	return 0;
}

static int dumpable_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	struct task *task = l->thread->task;
	int64_t r;

	if (!is_speaker(l->thread))
		return 0;
	r = tape_result(t, cue->at[0]);
	if (r < 0)
		return err_sysn(err, (int)-r, "cannot read whether task %d is dumpable", task->pid);
	if (!task->mm)
		task->mm = arena_msg(l->world->arena, MmEntry, mm_entry);
	task->mm->has_dumpable = true;
	task->mm->dumpable = (int32_t)r;
	return 0;
}

static int dumpable_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const MmEntry *mm = a->thread->task->mm;

	if (mm && mm->has_dumpable)
		tape_call(t, "dumpable", TAPE_MUST, SYS_prctl, T(PR_SET_DUMPABLE),
			T(mm->dumpable == 1));
	return 0;
}

const struct facet facet_dumpable = {
	.name = "dumpable",
	.scope = PER_THREAD,
	.phase = PHASE_LAST,
	.ask = dumpable_ask,
	.learn = dumpable_learn,
	.tell = dumpable_tell,
};
