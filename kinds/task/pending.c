// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of pending signals: each thread's own queue and the one of the whole process, with their
 * siginfo and in their order. They are read after the task was asked about its timers, which run on
 * while it is stopped: the signal of an expiry would be missed otherwise. That it may be counted
 * twice then, as a signal and as a timer that has yet to expire, is seen to in the rooms of timers.
 *
 * They come back by calls of the thread itself, which may claim any siginfo about itself
 * (do_rt_tgsigqueueinfo() in kernel/signal.c). Three kinds come from outside instead:
 * - what is beyond the room of a tape,
 * - SIGSTOP, which no mask holds back and which would stop the playing of tapes,
 * - SIGURG, which ends a tape (inject/husk.h) and so cannot wait in the queue meanwhile.
 * The last two are sent when no tape will be played any more.
 */
#include "base/io.h"
#include "base/log.h"
#include "kernel/ptrace.h"
#include "kernel/thread_calls.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH = 32,
	INFO_LEN = 128,
	TAPE_SIGNALS = 1000, /* of one queue by tape: about 250 KiB */
	SYS_PRIVATE_AT = 32, /* si_sys_private of SI_TIMER */
	FLUSHES = 4,
};

/* ---- dump ---- */

static SignalQueueEntry *read_queue(struct look *l, bool shared, struct err *err)
{
	struct arena *a = l->world->arena;
	SignalQueueEntry *q = arena_msg(a, SignalQueueEntry, signal_queue_entry);
	siginfo_t infos[BATCH];
	char who[THREAD_NAME];
	uint64_t from = 0;
	int n;

	while ((n = ptrace_peek_signals(l->tid, shared, from, infos, BATCH)) > 0) {
		for (int i = 0; i < n; i++) {
			SiginfoEntry *s;

			if (infos[i].si_signo == SIGKILL)
				continue;
			s = arena_msg(a, SiginfoEntry, siginfo_entry);
			s->siginfo.len = sizeof(infos[i]);
			s->siginfo.data = arena_memdup(a, &infos[i], sizeof(infos[i]));
			arena_push(a, q->signals, q->n_signals, s);
		}
		from += (uint64_t)n;
	}
	if (n < 0) {
		err_sysn(err, -n, "cannot read the pending signals of %s",
			thread_name(l->thread, who, sizeof(who)));
		return NULL;
	}
	return q;
}

static int pending_review(struct look *l, struct err *err)
{
	ThreadCoreEntry *core = own_core(l);

	core->signals_p = read_queue(l, false, err);
	return core->signals_p ? 0 : -EIO;
}

static int shared_review(struct look *l, struct err *err)
{
	TaskCoreEntry *tc = own_tc(l);

	tc->signals_s = read_queue(l, true, err);
	return tc->signals_s ? 0 : -EIO;
}

static bool queue_has(const SignalQueueEntry *q, int signo, int timer)
{
	for (size_t i = 0; q && i < q->n_signals; i++) {
		siginfo_t info;

		memcpy(&info, q->signals[i]->siginfo.data, sizeof(info));
		if (info.si_signo == signo &&
			(timer < 0 || (info.si_code == SI_TIMER && info.si_timerid == timer)))
			return true;
	}
	return false;
}

bool pending_expired(struct look *l, const struct thread *to, int signo, int timer,
	uint64_t left_ns)
{
	const SignalQueueEntry *q = to ? to->core->thread_core->signals_p : own_tc(l)->signals_s;

	return left_ns && left_ns <= 1000 * (clock_us() - l->asked_us) && queue_has(q, signo, timer);
}

/* ---- check ---- */

static void check_queue(const SignalQueueEntry *q, const struct thread *th, struct findings *f)
{
	for (size_t i = 0; q && i < q->n_signals; i++) {
		const ProtobufCBinaryData *d = &q->signals[i]->siginfo;
		int32_t signo = 0;

		if (d->len == INFO_LEN)
			memcpy(&signo, d->data, sizeof(signo));
		if (signo < 1 || signo > 64 || signo == SIGKILL)
			finding_add(f, "signal-bad", SEV_ERROR, th->task->pid,
				"pending signal %zu of thread %d is damaged", i, th->tid);
	}
}

static void pending_check(const struct world *w, const struct thread *th, struct findings *f)
{
	if (th->core->thread_core)
		check_queue(th->core->thread_core->signals_p, th, f);
}

static void shared_check(const struct world *w, const struct thread *th, struct findings *f)
{
	if (tc_of(th))
		check_queue(tc_of(th)->signals_s, th, f);
}

/* ---- restore ---- */

/* A copy of a saved siginfo that the kernel takes as it is; false if it is damaged. */
static bool take_info(const SiginfoEntry *s, siginfo_t *ret)
{
	_Static_assert(sizeof(*ret) == INFO_LEN, "siginfo is 128 bytes");
	if (s->siginfo.len != sizeof(*ret))
		return false;
	memcpy(ret, s->siginfo.data, sizeof(*ret));
	/* marks a timer to be started again at delivery: that one does not exist any more */
	if (ret->si_code == SI_TIMER)
		memset((char *)ret + SYS_PRIVATE_AT, 0, sizeof(int));
	return ret->si_signo >= 1 && ret->si_signo <= 64 && ret->si_signo != SIGKILL;
}

static bool is_late(const siginfo_t *info)
{
	return info->si_signo == SIGSTOP || info->si_signo == SIGURG;
}

/* Ids are asked inside: they hold in the thread's own pid namespace. */
static void tell_queue(struct tape *t, const SignalQueueEntry *q, bool shared)
{
	size_t pid, tid;

	if (!q || !q->n_signals)
		return;
	pid = tape_call0(t, "pending", 0, SYS_getpid);
	tid = tape_call0(t, "pending", 0, SYS_gettid);
	for (size_t i = 0; i < q->n_signals && i < TAPE_SIGNALS; i++) {
		siginfo_t info;
		size_t at;

		if (!take_info(q->signals[i], &info) || is_late(&info))
			continue;
		at = tape_data(t, &info, sizeof(info));
		/* the process is named by the caller's own tid: only so any si_code is allowed */
		if (shared)
			tape_call(t, "pending", TAPE_MUST, SYS_rt_sigqueueinfo, T_RESULT(tid),
				T(info.si_signo), T_DATA(at));
		else
			tape_call(t, "pending", TAPE_MUST, SYS_rt_tgsigqueueinfo, T_RESULT(pid),
				T_RESULT(tid), T(info.si_signo), T_DATA(at));
	}
}

static int pending_tell(struct tape *t, const struct arise *a, struct err *err)
{
	if (a->thread->core->thread_core)
		tell_queue(t, a->thread->core->thread_core->signals_p, false);
	return 0;
}

/* Ends of restored zombies left signals behind which the saved task did not have: taken away. */
static int shared_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const uint64_t all = ~0ull;
	const struct timespec now = { 0 };
	size_t at_set = tape_data(t, &all, sizeof(all)), at_now = tape_data(t, &now, sizeof(now));

	for (int i = 0; i < FLUSHES; i++)
		tape_call(t, "pending", 0, SYS_rt_sigtimedwait, T_DATA(at_set), T(0),
			T_DATA(at_now), T(sizeof(all)));
	if (tc_of(a->thread))
		tell_queue(t, tc_of(a->thread)->signals_s, true);
	return 0;
}

/* From outside, as good as the kernel allows: it may be known who sent it, then we did. */
static int queue_outside(const struct arise *a, const siginfo_t *info, bool shared, struct err *err)
{
	int r = thread_queue_signal(a->tgid, shared ? 0 : a->tid, info->si_signo, info);

	if (r == -EPERM) {
		log_debug("signal %d of thread %d is sent anew: its siginfo cannot be kept",
			info->si_signo, a->thread->tid);
		r = shared ? (int)syscall(SYS_kill, a->tgid, info->si_signo)
			   : (int)syscall(SYS_tgkill, a->tgid, a->tid, info->si_signo);
		r = r < 0 ? -errno : 0;
	}
	return r < 0 ? err_sysn(err, -r, "cannot queue signal %d of thread %d", info->si_signo,
			       a->thread->tid)
		     : 0;
}

static int set_rest(const struct arise *a, const SignalQueueEntry *q, bool shared, struct err *err)
{
	for (size_t i = TAPE_SIGNALS; q && i < q->n_signals; i++) {
		siginfo_t info;
		int r;

		if (!take_info(q->signals[i], &info) || is_late(&info))
			continue;
		r = queue_outside(a, &info, shared, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int pending_set(const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;

	return core ? set_rest(a, core->signals_p, false, err) : 0;
}

static int shared_set(const struct arise *a, struct err *err)
{
	const TaskCoreEntry *tc = tc_of(a->thread);

	return tc ? set_rest(a, tc->signals_s, true, err) : 0;
}

static int set_late(const struct arise *a, const SignalQueueEntry *q, bool shared, struct err *err)
{
	for (size_t i = 0; q && i < q->n_signals; i++) {
		siginfo_t info;
		int r;

		if (!take_info(q->signals[i], &info) || !is_late(&info))
			continue;
		r = queue_outside(a, &info, shared, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int pending_set_late(const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;
	const TaskCoreEntry *tc = tc_of(a->thread);
	int r = core ? set_late(a, core->signals_p, false, err) : 0;

	if (r == 0 && tc && is_speaker(a->thread))
		r = set_late(a, tc->signals_s, true, err);
	return r;
}

const struct facet facet_pending = {
	.name = "pending",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.review = pending_review,
	.check = pending_check,
	.tell = pending_tell,
	.set = pending_set,
};

const struct facet facet_pending_shared = {
	.name = "pending-shared",
	.scope = PER_TASK,
	.phase = PHASE_THREAD,
	.review = shared_review,
	.check = shared_check,
	.tell = shared_tell,
	.set = shared_set,
};
