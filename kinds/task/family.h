/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rooms of tasks and threads share. */
#pragma once
#include "kernel/proc_status.h"
#include "kinds/task/task.h"

static inline bool is_leader(const struct thread *th)
{
	return th == &th->task->threads[0];
}

/* Restore side: the task-wide message; NULL if the image has none (which a check reports). */
static inline const TaskCoreEntry *tc_of(const struct thread *th)
{
	return th->task->threads[0].core->tc;
}

/* Dump side: the messages to be filled, made on first use. */
TaskCoreEntry *own_tc(struct look *l);
ThreadCoreEntry *own_core(struct look *l);
TaskTimersEntry *own_timers(struct look *l);

/* "task 42 (redis)" or "thread 43 of task 42 (redis)", virtual ids; cut to fit, returns buf. */
const char *thread_name(const struct thread *th, char *buf, size_t size);
enum { THREAD_NAME = 96 };
/* status file of the thread, parsed; groups point into l->status. */
int look_status(const struct look *l, struct proc_status *ret, struct err *err) must_use;
/* The leader or, if that is dead, the first live thread: speaks for the task. */
static inline bool is_speaker(const struct thread *th)
{
	return th == task_live_thread(th->task);
}

/* Whether torpor itself has this capability in effect. */
bool have_cap(unsigned cap);

/* sigmask.c, pending.c, xsave_x86.c: used by regs_x86.c */
int sigmask_set(const struct arise *a, struct err *err) must_use;
int pending_set_late(const struct arise *a, struct err *err) must_use;
/*
 * In a review, after that of the pending signals: did a timer expire between its answer (so much
 * was left then) and the look at the signals, so that its signal is among them? `to` is the thread
 * it notifies, NULL for the process; `timer` the id of a POSIX timer or -1. Where this cannot be
 * told exactly there is a signal which the expiry would not add to.
 */
bool pending_expired(struct look *l, const struct thread *to, int signo, int timer, uint64_t left_ns);
int rseq_set_late(const struct arise *a, struct err *err) must_use;
/*
 * Area as ptrace gave it -> message. An error names a component that is in use and that the
 * message has no place for.
 */
int xsave_to_msg(struct arena *arena, const uint8_t *area, size_t len, UserX86FpregsEntry *fp,
	struct err *err) must_use;
/*
 * Message -> area, which holds what ptrace gave for a thread of this computer. An error names a
 * component that is in use and that this processor lacks.
 */
int xsave_from_msg(
	const UserX86FpregsEntry *fp, uint8_t *area, size_t len, struct err *err) must_use;

extern const struct facet facet_state, facet_leader_name, facet_leader_creds, facet_obstacles,
	facet_loginuid, facet_rlimits_early, facet_sigactions, facet_subreaper, facet_oom,
	facet_membarrier, facet_prctls, facet_personality, facet_clear_tid, facet_robust_list,
	facet_altstack, facet_sigmask, facet_rseq, facet_timerslack, facet_pending,
	facet_pending_shared, facet_timers_make, facet_rlimits, facet_seccomp_early, facet_creds,
	facet_sched, facet_affinity, facet_ioprio, facet_dumpable, facet_timers_arm, facet_itimers,
	facet_mdwe, facet_pdeath, facet_no_new_privs, facet_seccomp;
