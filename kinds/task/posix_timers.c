// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of POSIX timers: timer_create(2). /proc/TID/timers says what they are, the task itself how
 * much time is left (timer_gettime) and how many expiries were missed (timer_getoverrun).
 *
 * Restore makes them when all threads exist (a timer may belong to a thread) and before privileges
 * go (alarm clocks need CAP_WAKE_ALARM), and starts them late: their time runs from then on. Ids
 * come back by prctl(PR_TIMER_CREATE_RESTORE_IDS) where the kernel has it (since 6.15), else by
 * making and deleting timers until the kernel's counter has reached the id.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/proc_timers.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

enum {
	RESTORE_IDS = 77, /* PR_TIMER_CREATE_RESTORE_IDS */
	IDS_OFF = 0,
	IDS_ON = 1,
	IDS_GET = 2,
	NOTIFY_THREAD_ID = 4, /* SIGEV_THREAD_ID */
	MAX_ASKED = 500,      /* by one tape */
	MAX_COUNTED = 4000,   /* ids to be counted through without RESTORE_IDS */
};

/* ---- dump ---- */

static int virtual_tid(const struct task *t, pid_t real, int32_t *ret)
{
	task_each_thread(th, t) {
		if (th->real == real) {
			*ret = th->tid;
			return 1;
		}
	}
	return 0;
}

static int add_timer(
	struct look *l, TaskTimersEntry *e, const struct proc_timer *pt, struct err *err)
{
	struct arena *a = l->world->arena;
	PosixTimerEntry *p = arena_msg(a, PosixTimerEntry, posix_timer_entry);
	char who[THREAD_NAME];

	p->it_id = (uint32_t)pt->id;
	p->clock_id = (uint32_t)pt->clock;
	p->si_signo = (uint32_t)pt->signo;
	p->it_sigev_notify = (uint32_t)pt->notify;
	p->sival_ptr = pt->sival;
	if (pt->notify & NOTIFY_THREAD_ID) {
		p->has_notify_thread_id = true;
		/* 0: the thread has ended, the timer lives on and notifies nobody */
		if (pt->target && !virtual_tid(l->thread->task, pt->target, &p->notify_thread_id))
			return err_target(err, ESRCH,
				"timer %d of %s notifies thread %d, which is not one of its "
				"threads",
				pt->id, thread_name(l->thread, who, sizeof(who)), pt->target);
	}
	if (e->n_posix == MAX_ASKED)
		return err_unsupported(err, "%s has more than %d POSIX timers",
			thread_name(l->thread, who, sizeof(who)), MAX_ASKED);
	arena_push(a, e->posix, e->n_posix, p);
	return 0;
}

static int by_id(const void *x, const void *y)
{
	const PosixTimerEntry *const *a = x, *const *b = y;

	return (*a)->it_id < (*b)->it_id ? -1 : (*a)->it_id > (*b)->it_id;
}

/* The kernel lists them in an order of its own. */
static int timers_look(struct look *l, struct err *err)
{
	TaskTimersEntry *e = own_timers(l);
	auto_free char *text = NULL;
	struct proc_timer pt;
	struct cursor c;
	int r;

	r = io_slurpf(&text, NULL, "/proc/%d/timers", l->tid);
	if (r == -ENOENT) /* no CONFIG_CHECKPOINT_RESTORE or no POSIX timers */
		return 0;
	if (r < 0)
		return err_sysn(err, -r, "cannot read /proc/%d/timers", l->tid);
	c = cursor_of(text);
	while ((r = proc_timers_next(&c, &pt, err)) > 0) {
		r = add_timer(l, e, &pt, err);
		if (r < 0)
			return r;
	}
	if (r == 0 && e->n_posix)
		qsort(e->posix, e->n_posix, sizeof(*e->posix), by_id);
	return r;
}

static int timers_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	const TaskTimersEntry *e = own_timers(l);

	cue->at[1] = tape_room(t, e->n_posix * sizeof(struct itimerspec));
	cue->at[0] = tape_calls(t);
	for (size_t i = 0; i < e->n_posix; i++) {
		tape_call(t, "timers", 0, SYS_timer_gettime, T(e->posix[i]->it_id),
			T_DATA(cue->at[1] + i * sizeof(struct itimerspec)));
		tape_call(t, "timers", 0, SYS_timer_getoverrun, T(e->posix[i]->it_id));
	}
	return 0;
}

static int timers_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	TaskTimersEntry *e = own_timers(l);
	const struct itimerspec *v = tape_at(t, cue->at[1]);
	char who[THREAD_NAME];

	for (size_t i = 0; i < e->n_posix; i++) {
		PosixTimerEntry *p = e->posix[i];
		int64_t r = tape_result(t, cue->at[0] + 2 * i);
		int64_t overrun = tape_result(t, cue->at[0] + 2 * i + 1);

		if (r < 0)
			return err_sysn(err, (int)-r, "cannot read timer %u of %s", p->it_id,
				thread_name(l->thread, who, sizeof(who)));
		p->overrun = overrun > 0 ? (uint32_t)overrun : 0;
		p->isec = (uint64_t)v[i].it_interval.tv_sec;
		p->insec = (uint64_t)v[i].it_interval.tv_nsec;
		p->vsec = (uint64_t)v[i].it_value.tv_sec;
		p->vnsec = (uint64_t)v[i].it_value.tv_nsec;
	}
	return 0;
}

static const struct thread *notified(const struct look *l, const PosixTimerEntry *p)
{
	task_each_thread(th, l->thread->task)
		if (p->it_sigev_notify & NOTIFY_THREAD_ID && th->tid == p->notify_thread_id)
			return th;
	return NULL;
}

/* A one-shot timer that has expired is done; another one expires again by its interval. */
static int timers_review(struct look *l, struct err *err)
{
	const uint64_t second = 1000000000;
	TaskTimersEntry *e = own_timers(l);
	uint64_t passed = 1000 * (clock_us() - l->asked_us);

	for (size_t i = 0; i < e->n_posix; i++) {
		PosixTimerEntry *p = e->posix[i];
		uint64_t left = p->vsec * second + p->vnsec;
		uint64_t interval = p->isec * second + p->insec;

		if (!pending_expired(l, notified(l, p), (int)p->si_signo, (int)p->it_id, left))
			continue;
		left = interval ? interval - (passed > left ? passed - left : 0) % interval : 0;
		p->vsec = left / second;
		p->vnsec = left % second;
	}
	return 0;
}

/* ---- check ---- */

/* By which timer_create(2) can be asked to notify (SIGEV_*). */
static bool can_notify(const PosixTimerEntry *p)
{
	/* see event_of() */
	if (p->it_sigev_notify & NOTIFY_THREAD_ID && !p->notify_thread_id)
		return true;
	switch (p->it_sigev_notify) {
	case SIGEV_NONE:
		return true;
	case SIGEV_SIGNAL:
	case SIGEV_THREAD:
	case NOTIFY_THREAD_ID:
		return p->si_signo;
	default:
		return false;
	}
}

static void check_timer(const PosixTimerEntry *p, const struct thread *th, struct findings *f)
{
	bool found = false;

	if (p->insec > 999999999 || p->vnsec > 999999999 || p->it_id > INT32_MAX ||
		p->si_signo > 64 || !can_notify(p) ||
		((p->vsec || p->vnsec) && (p->isec > INT64_MAX || p->vsec > INT64_MAX)))
		finding_add(f, "timer-bad", SEV_ERROR, th->task->pid,
			"POSIX timer %u of task %d has impossible values", p->it_id, th->task->pid);
	task_each_thread(one, th->task)
		found |= one->tid == p->notify_thread_id;
	if (p->it_sigev_notify & NOTIFY_THREAD_ID && p->notify_thread_id && !found)
		finding_add(f, "timer-thread", SEV_ERROR, th->task->pid,
			"POSIX timer %u of task %d notifies thread %d, which is not there",
			p->it_id, th->task->pid, p->notify_thread_id);
}

static void timers_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const TaskTimersEntry *e = tc_of(th) ? tc_of(th)->timers : NULL;

	for (size_t i = 0; e && i < e->n_posix; i++)
		check_timer(e->posix[i], th, f);
}

/* ---- restore ---- */

/* struct sigevent of the kernel, 64 bytes */
struct event {
	uint64_t value;
	int32_t signo, notify, tid;
	int32_t pad[11];
};

static size_t event_of(struct tape *t, const PosixTimerEntry *p)
{
	struct event e = {
		.value = p->sival_ptr,
		.signo = (int32_t)p->si_signo,
		.notify = (int32_t)p->it_sigev_notify,
		.tid = p->notify_thread_id,
	};

	/* the thread it belonged to has ended: somebody must be named, nobody is what it was */
	if (p->it_sigev_notify & NOTIFY_THREAD_ID && !p->notify_thread_id)
		e.notify = SIGEV_NONE;
	return tape_data(t, &e, sizeof(e));
}

static bool kernel_restores_ids(void)
{
	return prctl(RESTORE_IDS, IDS_GET, 0, 0, 0) >= 0;
}

static void make_by_id(struct tape *t, const TaskTimersEntry *e)
{
	tape_call(t, "timers", TAPE_MUST, SYS_prctl, T(RESTORE_IDS), T(IDS_ON), T(0), T(0), T(0));
	for (size_t i = 0; i < e->n_posix; i++) {
		int32_t id = (int32_t)e->posix[i]->it_id;

		tape_call(t, "timers", TAPE_MUST, SYS_timer_create,
			T((int64_t)(int32_t)e->posix[i]->clock_id),
			T_DATA(event_of(t, e->posix[i])), T_DATA(tape_data(t, &id, sizeof(id))));
	}
	tape_call(t, "timers", TAPE_MUST, SYS_prctl, T(RESTORE_IDS), T(IDS_OFF), T(0), T(0), T(0));
}

/* A new process counts its timers from 0; a wrong guess is found by asking for the id. */
static int make_by_count(
	struct tape *t, const TaskTimersEntry *e, const struct arise *a, struct err *err)
{
	PosixTimerEntry **sorted =
		arena_memdup(a->world->arena, e->posix, e->n_posix * sizeof(*e->posix));
	size_t at_id = tape_room(t, sizeof(int32_t)),
	       at_spec = tape_room(t, sizeof(struct itimerspec));
	uint32_t next = 0;

	qsort(sorted, e->n_posix, sizeof(*sorted), by_id);
	if (sorted[e->n_posix - 1]->it_id >= MAX_COUNTED)
		return err_unsupported(err,
			"timer id %u of task %d cannot be given back: this kernel lacks "
			"PR_TIMER_CREATE_RESTORE_IDS (since 6.15)",
			sorted[e->n_posix - 1]->it_id, a->thread->task->pid);
	for (size_t i = 0; i < e->n_posix; i++) {
		const PosixTimerEntry *p = sorted[i];

		for (; next < p->it_id; next++) {
			tape_call(t, "timers", TAPE_MUST, SYS_timer_create, T(CLOCK_MONOTONIC),
				T(0), T_DATA(at_id));
			tape_call(t, "timers", TAPE_MUST, SYS_timer_delete, T(next));
		}
		tape_call(t, "timers", TAPE_MUST, SYS_timer_create,
			T((int64_t)(int32_t)p->clock_id), T_DATA(event_of(t, p)), T_DATA(at_id));
		tape_call(t, "timers", TAPE_MUST, SYS_timer_gettime, T(p->it_id), T_DATA(at_spec));
		next++;
	}
	return 0;
}

static int timers_make(struct tape *t, const struct arise *a, struct err *err)
{
	const TaskTimersEntry *e = tc_of(a->thread) ? tc_of(a->thread)->timers : NULL;

	if (!e || !e->n_posix)
		return 0;
	if (!kernel_restores_ids())
		return make_by_count(t, e, a, err);
	make_by_id(t, e);
	return 0;
}

static int timers_arm(struct tape *t, const struct arise *a, struct err *err)
{
	const TaskTimersEntry *e = tc_of(a->thread) ? tc_of(a->thread)->timers : NULL;

	for (size_t i = 0; e && i < e->n_posix; i++) {
		const PosixTimerEntry *p = e->posix[i];
		struct itimerspec v = {
			.it_interval = { (time_t)p->isec, (long)p->insec },
			.it_value = { (time_t)p->vsec, (long)p->vnsec },
		};

		if (!p->vsec && !p->vnsec)
			continue;
		tape_call(t, "timers", TAPE_MUST, SYS_timer_settime, T(p->it_id), T(0),
			T_DATA(tape_data(t, &v, sizeof(v))), T(0));
	}
	return 0;
}

const struct facet facet_timers_make = {
	.name = "timers",
	.scope = PER_TASK,
	.phase = PHASE_THREAD,
	.look = timers_look,
	.ask = timers_ask,
	.learn = timers_learn,
	.review = timers_review,
	.check = timers_check,
	.tell = timers_make,
};

const struct facet facet_timers_arm = {
	.name = "timers-arm",
	.scope = PER_TASK,
	.phase = PHASE_LAST,
	.tell = timers_arm,
};
