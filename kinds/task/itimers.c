// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the three interval timers: getitimer(2), setitimer(2). They run from the moment they are
 * set, so that is late.
 */
#include "kinds/task/family.h"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

enum { N_TIMERS = 3 };

static int itimers_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[1] = tape_room(t, N_TIMERS * sizeof(struct itimerval));
	cue->at[0] = tape_calls(t);
	for (size_t i = 0; i < N_TIMERS; i++)
		tape_call(t, "itimers", 0, SYS_getitimer, T(i),
			T_DATA(cue->at[1] + i * sizeof(struct itimerval)));
	return 0;
}

static int itimers_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	TaskTimersEntry *e = own_timers(l);
	ItimerEntry *to[N_TIMERS] = { e->real, e->virt, e->prof };
	const struct itimerval *v = tape_at(t, cue->at[1]);
	char who[THREAD_NAME];

	for (size_t i = 0; i < N_TIMERS; i++) {
		int64_t r = tape_result(t, cue->at[0] + i);

		if (r < 0)
			return err_sysn(err, (int)-r, "cannot read interval timer %zu of %s", i,
				thread_name(l->thread, who, sizeof(who)));
		to[i]->isec = (uint64_t)v[i].it_interval.tv_sec;
		to[i]->iusec = (uint64_t)v[i].it_interval.tv_usec;
		to[i]->vsec = (uint64_t)v[i].it_value.tv_sec;
		to[i]->vusec = (uint64_t)v[i].it_value.tv_usec;
	}
	return 0;
}

static int itimers_review(struct look *l, struct err *err)
{
	static const int signals[N_TIMERS] = { SIGALRM, SIGVTALRM, SIGPROF };
	TaskTimersEntry *e = own_timers(l);
	ItimerEntry *timers[N_TIMERS] = { e->real, e->virt, e->prof };

	for (size_t i = 0; i < N_TIMERS; i++) {
		ItimerEntry *it = timers[i];
		uint64_t left_ns = it->vsec * 1000000000 + it->vusec * 1000;

		if (pending_expired(l, NULL, signals[i], -1, left_ns))
			it->vsec = it->vusec = 0;
	}
	return 0;
}

static void check_one(const ItimerEntry *e, const struct thread *th, struct findings *f)
{
	if (e && (e->iusec > 999999 || e->vusec > 999999 || e->isec > INT64_MAX ||
		e->vsec > INT64_MAX))
		finding_add(f, "itimer-time", SEV_ERROR, th->task->pid,
			"an interval timer of task %d has an impossible time", th->task->pid);
}

static void itimers_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const TaskTimersEntry *e = tc_of(th) ? tc_of(th)->timers : NULL;

	if (e) {
		check_one(e->real, th, f);
		check_one(e->virt, th, f);
		check_one(e->prof, th, f);
	}
}

static int itimers_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TaskCoreEntry *tc = tc_of(a->thread);
	const TaskTimersEntry *e = tc ? tc->timers : NULL;
	const ItimerEntry *from[N_TIMERS] = { 0 };

	if (e) {
		from[0] = e->real;
		from[1] = e->virt;
		from[2] = e->prof;
	}
	for (size_t i = 0; i < N_TIMERS; i++) {
		const ItimerEntry *it = from[i];
		struct itimerval v;

		if (!it || !(it->isec || it->iusec || it->vsec || it->vusec))
			continue;
		v.it_interval.tv_sec = (time_t)it->isec;
		v.it_interval.tv_usec = (suseconds_t)it->iusec;
		v.it_value.tv_sec = (time_t)it->vsec;
		v.it_value.tv_usec = (suseconds_t)it->vusec;
		/* it has just expired and its signal is pending: the next one is an interval away
		 */
		if (!it->vsec && !it->vusec)
			v.it_value = v.it_interval;
		tape_call(t, "itimers", TAPE_MUST, SYS_setitimer, T(i),
			T_DATA(tape_data(t, &v, sizeof(v))), T(0));
	}
	return 0;
}

const struct facet facet_itimers = {
	.name = "itimers",
	.scope = PER_TASK,
	.phase = PHASE_LAST,
	.ask = itimers_ask,
	.learn = itimers_learn,
	.review = itimers_review,
	.check = itimers_check,
	.tell = itimers_tell,
};
