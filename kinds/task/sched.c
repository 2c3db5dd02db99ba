// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of scheduling: policy, priority, nice, deadline parameters, utilisation clamps, processor
 * affinity, io priority. All from outside, and late: a thread of low priority would slow its own
 * restore down. Affinity comes after the policy (a deadline thread must be free to run anywhere
 * when it becomes one).
 */
#include "base/log.h"
#include "kernel/thread_calls.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	POLICY_DEADLINE = 6,
	POLICY_RESET_ON_FORK =
		0x40000000, /* SCHED_RESET_ON_FORK, as sched_getscheduler(2) has it */
	CLAMP_TOP = 1024,   /* SCHED_CAPACITY_SCALE */
	MASK_ROOM = 8192,   /* 65,536 processors */
};

static bool is_realtime(uint32_t policy)
{
	return policy == SCHED_FIFO || policy == SCHED_RR;
}

/* ---- policy ---- */

static void look_extra(const struct sched_attrs *s, TorporThreadEntry *extra)
{
	uint32_t normal_min = is_realtime(s->policy) ? CLAMP_TOP : 0;

	if (s->policy == POLICY_DEADLINE) {
		extra->has_sched_runtime = extra->has_sched_deadline = true;
		extra->has_sched_period = true;
		extra->sched_runtime = s->runtime;
		extra->sched_deadline = s->deadline;
		extra->sched_period = s->period;
		if (s->flags & ~(uint64_t)SCHED_ATTR_RESET_ON_FORK) {
			extra->has_sched_flags = true;
			extra->sched_flags = (uint32_t)s->flags;
		}
	}
	/* a kernel without clamps says 0 and 0 */
	if (s->util_max && s->util_max != CLAMP_TOP) {
		extra->has_sched_util_max = true;
		extra->sched_util_max = s->util_max;
	}
	if (s->util_max && s->util_min != normal_min) {
		extra->has_sched_util_min = true;
		extra->sched_util_min = s->util_min;
	}
}

static int sched_look(struct look *l, struct err *err)
{
	ThreadCoreEntry *core = own_core(l);
	struct sched_attrs s;
	char who[THREAD_NAME];
	int r = thread_get_sched(l->tid, &s);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the scheduling policy of %s",
			thread_name(l->thread, who, sizeof(who)));
	core->has_sched_policy = true;
	core->sched_policy =
		s.policy | (s.flags & SCHED_ATTR_RESET_ON_FORK ? POLICY_RESET_ON_FORK : 0);
	core->has_sched_nice = true;
	/* also for policies without nice: it counts again when the thread leaves them */
	core->sched_nice = getpriority(PRIO_PROCESS, (id_t)l->tid);
	if (is_realtime(s.policy)) {
		core->has_sched_prio = true;
		core->sched_prio = s.priority;
	}
	look_extra(&s, l->thread->extra);
	return 0;
}

static void sched_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const ThreadCoreEntry *c = th->core->thread_core;

	if (!c)
		return;
	if (c->has_sched_nice && (c->sched_nice < -20 || c->sched_nice > 19))
		finding_add(f, "sched-nice", SEV_ERROR, th->task->pid,
			"nice value %d of thread %d is out of range", c->sched_nice, th->tid);
	if (c->has_sched_prio && c->sched_prio > 99)
		finding_add(f, "sched-priority", SEV_ERROR, th->task->pid,
			"priority %u of thread %d is out of range", c->sched_prio, th->tid);
}

static struct sched_attrs attrs_of(const ThreadCoreEntry *core, const TorporThreadEntry *extra)
{
	struct sched_attrs s = {
		.size = sizeof(s),
		.policy = core->sched_policy & ~(uint32_t)POLICY_RESET_ON_FORK,
		.nice = core->has_sched_nice ? core->sched_nice : 0,
	};

	if (core->sched_policy & POLICY_RESET_ON_FORK)
		s.flags |= SCHED_ATTR_RESET_ON_FORK;
	if (is_realtime(s.policy))
		s.priority = core->sched_prio;
	if (s.policy == POLICY_DEADLINE) {
		s.flags |= extra->sched_flags;
		s.runtime = extra->sched_runtime;
		s.deadline = extra->sched_deadline;
		s.period = extra->sched_period;
	}
	if (extra->has_sched_util_min) {
		s.flags |= SCHED_ATTR_UTIL_MIN;
		s.util_min = extra->sched_util_min;
	}
	if (extra->has_sched_util_max) {
		s.flags |= SCHED_ATTR_UTIL_MAX;
		s.util_max = extra->sched_util_max;
	}
	return s;
}

static bool same_attrs(const struct sched_attrs *a, const struct sched_attrs *b)
{
	uint64_t reset = SCHED_ATTR_RESET_ON_FORK;

	return a->policy == b->policy && (a->flags & reset) == (b->flags & reset) &&
	       !is_realtime(a->policy) && a->policy != POLICY_DEADLINE && !(a->flags & ~reset);
}

static int sched_set(const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;
	struct sched_attrs want, now;
	char who[THREAD_NAME];
	int r;

	if (!core)
		return 0;
	thread_name(a->thread, who, sizeof(who));
	want = attrs_of(core, a->thread->extra);
	if (getpriority(PRIO_PROCESS, (id_t)a->tid) != want.nice &&
		setpriority(PRIO_PROCESS, (id_t)a->tid, want.nice) < 0)
		return err_sys(err, "cannot set the nice value of %s to %d", who, want.nice);
	r = thread_get_sched(a->tid, &now);
	if (r == 0 && same_attrs(&want, &now))
		return 0;
	r = thread_set_sched(a->tid, &want);
	return r < 0 ? err_sysn(err, -r,
			       "cannot set the scheduling policy of %s to %u, priority %u", who,
			       want.policy, want.priority)
		     : 0;
}

/* ---- affinity ---- */

/* Bytes up to the last processor that is in the mask, a multiple of 8. */
static size_t mask_len(const uint8_t *mask, size_t len)
{
	while (len && !mask[len - 1])
		len--;
	return (len + 7) / 8 * 8;
}

static size_t count_bits(const uint8_t *mask, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += (size_t)__builtin_popcount(mask[i]);
	return n;
}

/* A thread that may run on every processor which is up is not restricted. */
static int affinity_look(struct look *l, struct err *err)
{
	TorporThreadEntry *extra = l->thread->extra;
	uint8_t mask[MASK_ROOM] = { 0 };
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	char who[THREAD_NAME];
	int n = thread_get_affinity(l->tid, mask, sizeof(mask));

	if (n < 0)
		return err_sysn(err, -n, "cannot read the processors of %s",
			thread_name(l->thread, who, sizeof(who)));
	if (online > 0 && count_bits(mask, (size_t)n) >= (size_t)online)
		return 0;
	extra->has_affinity = true;
	extra->affinity.len = mask_len(mask, (size_t)n);
	extra->affinity.data = arena_memdup(l->world->arena, mask, extra->affinity.len);
	return 0;
}

static void warn_missing(const struct arise *a, const ProtobufCBinaryData *want)
{
	uint8_t now[MASK_ROOM] = { 0 };
	char who[THREAD_NAME];

	if (thread_get_affinity(a->tid, now, sizeof(now)) < 0)
		return;
	for (size_t i = 0; i < want->len && i < sizeof(now); i++) {
		if (want->data[i] & ~now[i]) {
			log_warn("%s may run on fewer processors than before: some are not here",
				thread_name(a->thread, who, sizeof(who)));
			return;
		}
	}
}

/* Threads without a saved mask get the one torpor was started with, by restore/arm.c. */
static int affinity_set(const struct arise *a, struct err *err)
{
	const TorporThreadEntry *extra = a->thread->extra;
	uint8_t all[MASK_ROOM];
	char who[THREAD_NAME];
	int r;

	if (!extra->has_affinity || !extra->affinity.len)
		return 0;
	r = thread_set_affinity(a->tid, extra->affinity.data, extra->affinity.len);
	if (r == 0) {
		warn_missing(a, &extra->affinity);
		return 0;
	}
	log_warn("none of the processors of %s is usable here (%s), it may run on all",
		thread_name(a->thread, who, sizeof(who)), strerror(-r));
	memset(all, 0xff, sizeof(all));
	r = thread_set_affinity(a->tid, all, sizeof(all));
	if (r < 0)
		log_debug(
			"processors of thread %d cannot be set: %s", a->thread->tid, strerror(-r));
	return 0;
}

/* ---- io priority ---- */

static int ioprio_look(struct look *l, struct err *err)
{
	TorporThreadEntry *extra = l->thread->extra;
	uint32_t ioprio;
	char who[THREAD_NAME];
	int r = thread_get_ioprio(l->tid, &ioprio);

	if (r == -ENOSYS) /* kernel without block devices */
		return 0;
	if (r < 0)
		return err_sysn(err, -r, "cannot read the io priority of %s",
			thread_name(l->thread, who, sizeof(who)));
	if (ioprio >> IOPRIO_CLASS_BITS) {
		extra->has_ioprio = true;
		extra->ioprio = ioprio;
	}
	return 0;
}

/* Classes none, real time, best effort and idle (ioprio_set(2)); none has no levels. */
static void ioprio_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const TorporThreadEntry *extra = th->extra;
	uint32_t class = extra->has_ioprio ? extra->ioprio >> IOPRIO_CLASS_BITS : 0;

	(void)w;
	if (class > 3)
		finding_add(f, "sched-ioprio", SEV_ERROR, th->task->pid,
			"thread %d has the io priority 0x%x", th->tid, extra->ioprio);
}

static int ioprio_set_it(const struct arise *a, struct err *err)
{
	const TorporThreadEntry *extra = a->thread->extra;
	uint32_t want = extra->has_ioprio ? extra->ioprio : 0, now;
	char who[THREAD_NAME];
	int r = thread_get_ioprio(a->tid, &now);

	if (r < 0 || now == want || (!(now >> IOPRIO_CLASS_BITS) && !(want >> IOPRIO_CLASS_BITS)))
		return 0;
	r = thread_set_ioprio(a->tid, want);
	if (r < 0)
		return err_sysn(err, -r, "cannot set the io priority of %s to 0x%x",
			thread_name(a->thread, who, sizeof(who)), want);
	return 0;
}

const struct facet facet_sched = {
	.name = "sched",
	.scope = PER_THREAD,
	.phase = PHASE_LAST,
	.look = sched_look,
	.check = sched_check,
	.set = sched_set,
};

const struct facet facet_affinity = {
	.name = "affinity",
	.scope = PER_THREAD,
	.phase = PHASE_LAST,
	.look = affinity_look,
	.set = affinity_set,
};

const struct facet facet_ioprio = {
	.name = "ioprio",
	.scope = PER_THREAD,
	.phase = PHASE_LAST,
	.look = ioprio_look,
	.check = ioprio_check,
	.set = ioprio_set_it,
};
