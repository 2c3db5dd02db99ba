// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the child subreaper: PR_SET_CHILD_SUBREAPER. Building the tree may need it for a while;
 * this sets the final value.
 */
#include "kinds/task/family.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

static int subreaper_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[1] = tape_room(t, sizeof(int32_t));
	cue->at[0] = tape_call(
		t, "subreaper", 0, SYS_prctl, T(PR_GET_CHILD_SUBREAPER), T_DATA(cue->at[1]));
	return 0;
}

static int subreaper_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	int64_t r = tape_result(t, cue->at[0]);
	TaskCoreEntry *tc = own_tc(l);

	if (r < 0)
		return err_sysn(err, (int)-r, "cannot read whether task %d is a subreaper",
			l->thread->task->pid);
	tc->has_child_subreaper = true;
	tc->child_subreaper = *(const int32_t *)tape_at(t, cue->at[1]) != 0;
	return 0;
}

static int subreaper_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TaskCoreEntry *tc = tc_of(a->thread);

	tape_call(t, "subreaper", TAPE_MUST, SYS_prctl, T(PR_SET_CHILD_SUBREAPER),
		T(tc && tc->has_child_subreaper && tc->child_subreaper));
	return 0;
}

const struct facet facet_subreaper = {
	.name = "subreaper",
	.scope = PER_TASK,
	.phase = PHASE_TASK,
	.ask = subreaper_ask,
	.learn = subreaper_learn,
	.tell = subreaper_tell,
};
