// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the parent-death signal: PR_SET_PDEATHSIG. A change of credentials clears it
 * (commit_creds() in kernel/cred.c), so it comes after them.
 */
#include "kinds/task/family.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

static int pdeath_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[1] = tape_room(t, sizeof(int32_t));
	cue->at[0] = tape_call(t, "pdeath", 0, SYS_prctl, T(PR_GET_PDEATHSIG), T_DATA(cue->at[1]));
	return 0;
}

static int pdeath_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	int64_t r = tape_result(t, cue->at[0]);
	int32_t signo = *(const int32_t *)tape_at(t, cue->at[1]);
	ThreadCoreEntry *core = own_core(l);
	char who[THREAD_NAME];

	if (r < 0)
		return err_sysn(err, (int)-r, "cannot read the parent-death signal of %s",
			thread_name(l->thread, who, sizeof(who)));
	if (signo) {
		core->has_pdeath_sig = true;
		core->pdeath_sig = (uint32_t)signo;
	}
	return 0;
}

static int pdeath_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;

	if (core && core->has_pdeath_sig && core->pdeath_sig)
		tape_call(t, "pdeath", TAPE_MUST, SYS_prctl, T(PR_SET_PDEATHSIG),
			T(core->pdeath_sig));
	return 0;
}

const struct facet facet_pdeath = {
	.name = "pdeath",
	.scope = PER_THREAD,
	.phase = PHASE_LAST,
	.ask = pdeath_ask,
	.learn = pdeath_learn,
	.tell = pdeath_tell,
};
