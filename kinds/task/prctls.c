// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of small per-process switches of prctl(2) which other tools do not keep: machine-check
 * policy, io flusher, same-page merging of everything, memory-deny-write-execute. What a kernel
 * does not know, or does not tell without a capability, is left at its default.
 */
#include "kinds/task/family.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

enum {
	/* linux/prctl.h, newer than the headers we build with */
	SET_MDWE = 65,
	GET_MDWE = 66,
	SET_MEMORY_MERGE = 67,
	GET_MEMORY_MERGE = 68,
	MCE_DEFAULT = 2,
	MDWE_NO_INHERIT = 2,
	MDWE_ALL = 3,
};

/* Unused arguments must be 0 for these. */
static size_t ask_one(struct tape *t, int what)
{
	return tape_call(t, "prctls", 0, SYS_prctl, T(what), T(0), T(0), T(0), T(0));
}

static int prctls_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[0] = ask_one(t, PR_MCE_KILL_GET);
	cue->at[1] = ask_one(t, PR_GET_IO_FLUSHER);
	cue->at[2] = ask_one(t, GET_MEMORY_MERGE);
	return 0;
}

static int prctls_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	TorporTaskEntry *extra = l->thread->task->extra;
	int64_t mce = tape_result(t, cue->at[0]);

	if (mce >= 0 && mce != MCE_DEFAULT) {
		extra->has_mce_kill = true;
		extra->mce_kill = (uint32_t)mce;
	}
	extra->has_io_flusher = extra->io_flusher = tape_result(t, cue->at[1]) > 0;
	extra->has_ksm_any = extra->ksm_any = tape_result(t, cue->at[2]) > 0;
	return 0;
}

/* What prctl(2) takes; MDWE can only be inherited or not where there is MDWE. */
static void prctls_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const TorporTaskEntry *extra = th->task->extra;
	uint32_t mce = extra->has_mce_kill ? extra->mce_kill : MCE_DEFAULT;
	uint32_t mdwe = extra->has_mdwe ? extra->mdwe : 0;

	(void)w;
	if (mce > MCE_DEFAULT || mdwe > MDWE_ALL || mdwe == MDWE_NO_INHERIT)
		finding_add(f, "prctl-value", SEV_ERROR, th->task->pid,
			"task %d has the machine check policy %u and the write-execute flags 0x%x",
			th->task->pid, mce, mdwe);
}

static int prctls_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TorporTaskEntry *extra = a->thread->task->extra;

	if (extra->has_mce_kill)
		tape_call(t, "prctls", TAPE_MUST, SYS_prctl, T(PR_MCE_KILL), T(PR_MCE_KILL_SET),
			T(extra->mce_kill), T(0), T(0));
	if (extra->has_io_flusher && extra->io_flusher)
		tape_call(t, "prctls", TAPE_MUST, SYS_prctl, T(PR_SET_IO_FLUSHER), T(1), T(0), T(0),
			T(0));
	if (extra->has_ksm_any && extra->ksm_any)
		tape_call(t, "prctls", TAPE_MUST, SYS_prctl, T(SET_MEMORY_MERGE), T(1), T(0), T(0),
			T(0));
	return 0;
}

static int mdwe_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[0] = ask_one(t, GET_MDWE);
	return 0;
}

static int mdwe_learn(const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	TorporTaskEntry *extra = l->thread->task->extra;
	int64_t flags = tape_result(t, cue->at[0]);

	if (flags > 0) {
		extra->has_mdwe = true;
		extra->mdwe = (uint32_t)flags;
	}
	return 0;
}

static int mdwe_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TorporTaskEntry *extra = a->thread->task->extra;

	if (extra->has_mdwe && extra->mdwe)
		tape_call(t, "prctls", TAPE_MUST, SYS_prctl, T(SET_MDWE), T(extra->mdwe), T(0),
			T(0), T(0));
	return 0;
}

const struct facet facet_prctls = {
	.name = "prctls",
	.scope = PER_TASK,
	.phase = PHASE_TASK,
	.ask = prctls_ask,
	.learn = prctls_learn,
	.check = prctls_check,
	.tell = prctls_tell,
};

/* Last, because it cannot be taken back and forbids what building the address space needs. */
const struct facet facet_mdwe = {
	.name = "mdwe",
	.scope = PER_TASK,
	.phase = PHASE_LAST,
	.ask = mdwe_ask,
	.learn = mdwe_learn,
	.tell = mdwe_tell,
};
