// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The registry of facets, in the order of asking and, within a phase, of telling. Where the order
 * within a phase matters:
 * - pending-shared before pending: it first takes away signals that came up while restoring;
 * - rlimits and seccomp-early before creds: they may need capabilities;
 * - dumpable and pdeath after creds (an earlier phase): a change of credentials resets them;
 * - affinity after sched: see sched.c;
 * - no-new-privs, mdwe and, last of all, seccomp: they bar the way for others.
 */
#include "kinds/mem/mm.h"
#include "kinds/task/family.h"

const struct facet *const facets[] = {
	&facet_state,
	&facet_obstacles,
	/* PHASE_EARLY */
	&facet_loginuid,
	&facet_rlimits_early,
	/* PHASE_TASK */
	&facet_mm,
	&facet_leader_name,
	&facet_sigactions,
	&facet_subreaper,
	&facet_oom,
	&facet_membarrier,
	&facet_prctls,
	/* PHASE_THREAD */
	&facet_personality,
	&facet_clear_tid,
	&facet_robust_list,
	&facet_rseq,
	&facet_altstack,
	&facet_timerslack,
	&facet_sigmask,
	&facet_pending_shared,
	&facet_pending,
	&facet_timers_make,
	/* PHASE_CREDS */
	&facet_rlimits,
	&facet_seccomp_early,
	&facet_creds,
	/* PHASE_LAST */
	&facet_timers_arm,
	&facet_itimers,
	&facet_leader_creds,
	&facet_dumpable,
	&facet_pdeath,
	&facet_sched,
	&facet_affinity,
	&facet_ioprio,
	&facet_no_new_privs,
	&facet_mdwe,
	&facet_seccomp,
	NULL,
};
