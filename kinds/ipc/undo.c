/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a process would give back to System V semaphores at its end (SEM_UNDO, semop(2)). The kernel
 * tells nobody, but it refuses an operation whose undo value would leave -32768..32767 with ERANGE.
 * So the process itself is made to try operations that cannot succeed: the last step of each takes
 * more than there is (EAGAIN), and a semop(2) happens completely or not at all. They are made for a
 * value of the semaphore, which others than the tree may change at any time, so their first steps
 * check it (EAGAIN again): yes is always true, no may mean that the value was another one. Where
 * nobody was at work, no is true as well; elsewhere it is believed when it came many times with the
 * same value before and after.
 *
 * Restore: a set that was found has got its values back when the tree was killed, so the operation is
 * done again; in one that was made anew the values are right, so it changes the undo value only.
 */
#include "inject/hold.h"
#include "kernel/kcmp.h"
#include "kinds/ipc/family.h"
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { VALUE_MAX = 32767, STEPS = 7, PROBES = 200, ENOUGH = 40, SAMPLES = 100, TURNS = 20 };

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

/* One semop(2) in the making. */
struct attempt {
	struct sembuf steps[STEPS];
	size_t n;
	unsigned short num;
};

static void step(struct attempt *a, int op, int flags)
{
	a->steps[a->n++] = (struct sembuf){ a->num, (short)op, (short)(flags | IPC_NOWAIT) };
}

/* Goes on with 0 if the value is v, and fails (EAGAIN) if it is any other. */
static void expect_value(struct attempt *a, int v)
{
	if (v)
		step(a, -v, 0);
	step(a, 0, 0); /* "wait for zero" */
}

static size_t try(struct tape *tape, int id, const struct attempt *a)
{
	return tape_call(tape, "sem", 0, SYS_semop, T(id),
		T_DATA(tape_data(tape, a->steps, a->n * sizeof(a->steps[0]))), T(a->n));
}

/* ERANGE exactly if the undo value is at least t (t >= 1) of a semaphore that is v. */
static size_t try_above(struct tape *tape, int id, unsigned short num, int v, int t)
{
	struct attempt a = { .num = num };

	expect_value(&a, v);
	step(&a, VALUE_MAX, 0);
	step(&a, -(VALUE_MAX + 1 - t), SEM_UNDO);
	step(&a, -t, 0);
	return try(tape, id, &a);
}

/* The same for: at most -t. */
static size_t try_below(struct tape *tape, int id, unsigned short num, int v, int t)
{
	struct attempt a = { .num = num };
	int rest = VALUE_MAX + 2 - t;

	expect_value(&a, v);
	if (rest > VALUE_MAX) { /* one operation adds at most VALUE_MAX */
		step(&a, VALUE_MAX, SEM_UNDO);
		step(&a, -VALUE_MAX, 0);
		rest -= VALUE_MAX;
	}
	step(&a, rest, SEM_UNDO);
	step(&a, -VALUE_MAX, 0);
	step(&a, -1, 0);
	return try(tape, id, &a);
}

/* ---- dump ---- */

struct asking {
	struct world *world;
	struct task *task;
	struct tracee *voice;
	struct hold hold;
	struct tape *tape;
};

static int play(struct asking *a, struct err *err)
{
	struct hold_turn turn = { .h = &a->hold, .t = a->voice, .tape = a->tape };

	return hold_play(&turn, 1, err);
}

/* One semaphore, and in which direction something may be given back to it. */
struct question {
	int id;
	unsigned short num;
	bool above;
};

/* The attempt between two looks at the value. */
struct sample {
	size_t before, attempt, after;
};

static struct sample take(struct tape *tape, const struct question *q, int v, int t)
{
	struct sample s;

	s.before = tape_call(tape, "sem", 0, SYS_semctl, T(q->id), T(q->num), T(GETVAL), T(0));
	s.attempt = q->above ? try_above(tape, q->id, q->num, v, t) :
			       try_below(tape, q->id, q->num, v, t);
	s.after = tape_call(tape, "sem", 0, SYS_semctl, T(q->id), T(q->num), T(GETVAL), T(0));
	return s;
}

/* Whether the value was v all the time; one that the task may not read has to be believed. */
static bool was_still(const struct tape *tape, const struct sample *s, int v)
{
	int64_t before = tape_result(tape, s->before), after = tape_result(tape, s->after);

	return (before < 0 || before == v) && (after < 0 || after == v);
}

/* One yes, or the noes of a turn's samples that count. */
static bool judge(const struct tape *tape, const struct sample *samples, size_t n, int v, int *noes)
{
	bool yes = false;

	for (size_t i = 0; i < n && !yes; i++) {
		yes = tape_result(tape, samples[i].attempt) == -ERANGE;
		*noes += !yes && was_still(tape, &samples[i], v);
	}
	return yes;
}

/* Whether the undo value reaches t. */
static int reaches(struct asking *a, const struct question *q, int t, bool *ret, struct err *err)
{
	struct sample samples[SAMPLES];
	int noes = 0;

	*ret = false;
	for (int turn = 0; turn < TURNS && !*ret && noes < ENOUGH; turn++) {
		/* few do for a value that is still */
		const size_t n = turn ? SAMPLES : ENOUGH;
		int v = semctl(q->id, q->num, GETVAL), r;

		if (v < 0) /* removed meanwhile */
			return 0;
		tape_reset(a->tape);
		for (size_t i = 0; i < n; i++)
			samples[i] = take(a->tape, q, v, t);
		r = play(a, err);
		if (r < 0)
			return r;
		*ret = judge(a->tape, samples, n, v, &noes);
	}
	return *ret || noes >= ENOUGH ? 0 :
		err_busy(err, "semaphore %u of the System V semaphores %d changes all the time, so "
			"nobody can tell what task %d gives back to it; try again", q->num, q->id,
			a->task->pid);
}

/* The largest t that is reached, 0 if none is. */
static int measure(struct asking *a, const struct question *q, int *ret, struct err *err)
{
	int lo = 0, hi = VALUE_MAX + !q->above;
	bool yes = false;
	int r = reaches(a, q, 1, &yes, err);

	if (r == 0 && yes)
		lo = 1;
	else
		hi = 0;
	while (r == 0 && lo < hi) {
		int mid = lo + (hi - lo + 1) / 2;

		r = reaches(a, q, mid, &yes, err);
		if (yes)
			lo = mid;
		else
			hi = mid - 1;
	}
	*ret = q->above ? lo : -lo;
	return r;
}

static int add_undo(struct asking *a, const struct question *q, struct err *err)
{
	TorporSemUndo *u = arena_msg(a->world->arena, TorporSemUndo, torpor_sem_undo);
	TorporTaskEntry *extra = a->task->extra;
	int r;

	u->id = (uint32_t)q->id;
	u->num = q->num;
	r = measure(a, q, &u->adjust, err);
	if (r == 0 && u->adjust)
		arena_push(a->world->arena, extra->sem_undos, extra->n_sem_undos, u);
	return r;
}

/* Nobody changed a semaphore of the set since some time before `since` (real time, seconds). */
static bool was_quiet(int id, time_t since)
{
	struct semid_ds ds;

	return semctl(id, 0, IPC_STAT, (union semun){ .buf = &ds }) == 0 && ds.sem_otime < since - 1 &&
		ds.sem_ctime < since - 1;
}

/* Semaphores [from, to) of a set: first whether there may be anything at all. */
static int ask_some(struct asking *a, int id, const unsigned short *values, uint32_t from, uint32_t to,
	struct err *err)
{
	struct question q = { .id = id };
	struct sample samples[PROBES][2];
	bool may_be[PROBES][2], quiet;
	time_t since = time(NULL);
	int r;

	tape_reset(a->tape);
	for (uint32_t i = from; i < to; i++)
		for (int k = 0; k < 2; k++) {
			q.num = (unsigned short)i;
			q.above = k == 0;
			samples[i - from][k] = take(a->tape, &q, values[i], 1);
		}
	r = play(a, err);
	quiet = was_quiet(id, since);
	for (uint32_t i = from; i < to && r == 0; i++)
		for (int k = 0; k < 2; k++) {
			const struct sample *s = &samples[i - from][k];

			may_be[i - from][k] = !quiet ||
				tape_result(a->tape, s->attempt) == -ERANGE ||
				!was_still(a->tape, s, values[i]);
		}
	for (uint32_t i = from; i < to && r == 0; i++)
		for (int k = 0; k < 2 && r == 0; k++) {
			q.num = (unsigned short)i;
			q.above = k == 0;
			if (may_be[i - from][k])
				r = add_undo(a, &q, err);
		}
	return r;
}

static int ask_set(struct asking *a, const struct sysv_sem *s, struct err *err)
{
	unsigned short *values = reallocarray(NULL, s->n + 1, sizeof(*values));
	int r = values ? 0 : err_nomem(err);

	if (r == 0 && semctl(s->perm.id, 0, GETALL, (union semun){ .array = values }) < 0) {
		free(values);
		return 0; /* removed meanwhile */
	}
	for (uint32_t i = 0; i < s->n && r == 0; i += PROBES)
		r = ask_some(a, s->perm.id, values, i, i + PROBES < s->n ? i + PROBES : s->n, err);
	free(values);
	return r;
}

static int ask_all(struct asking *a, struct err *err)
{
	struct sysv_sems list = { 0 };
	int r = sysv_list_sem(&list, err);

	vec_each(s, &list)
		if (r == 0)
			r = ask_set(a, s, err);
	vec_done(&list);
	return r;
}

int sysv_ask_undo(struct world *w, struct task *t, struct tracee *voice, unsigned patience_s,
	struct err *err)
{
	struct asking a = { .world = w, .task = t, .voice = voice, .tape = NULL };
	int r;

	/* Who has never used SEM_UNDO has no list, as we have none. */
	if (kcmp_objects(voice->tid, getpid(), KCMP_SYSVSEM, 0, 0) <= 0)
		return 0;
	a.tape = tape_new();
	r = hold_begin(&a.hold, &a.voice, 1, patience_s, err);
	if (r == 0) {
		r = ask_all(&a, err);
		hold_end(&a.hold, 1);
	}
	tape_free(a.tape);
	return r < 0 ? err_while(err, "asking task %d (%s) about System V semaphores", t->pid,
			       task_comm(t)) : 0;
}

/* ---- restore ---- */

static bool was_made(const struct sysv_made *m, uint32_t id)
{
	vec_each(o, &m->objects)
		if (o->kind == SYSV_SEM && (uint32_t)o->id == id)
			return o->made;
	return false;
}

static void tell_undo(const struct sysv_made *m, struct tape *tape, const TorporSemUndo *u)
{
	struct attempt a = { .num = (unsigned short)u->num };
	bool made = was_made(m, u->id);
	int v = made ? semctl((int)u->id, (int)u->num, GETVAL) : 0;

	/* Where nothing is to change, up comes before down if there is not enough. */
	if (made && v < u->adjust)
		step(&a, u->adjust, 0);
	step(&a, -u->adjust, SEM_UNDO);
	if (made && v >= u->adjust)
		step(&a, u->adjust, 0);
	tape_call(tape, "sem", TAPE_MUST, SYS_semop, T(u->id),
		T_DATA(tape_data(tape, a.steps, a.n * sizeof(a.steps[0]))), T(a.n));
}

int sysv_tell_undo(const struct sysv_made *m, struct husk *h, const struct task *t, struct err *err)
{
	const TorporTaskEntry *extra = t->extra;
	struct tape *tape = tape_new();
	int r = 0;

	for (size_t i = 0; i < extra->n_sem_undos && r == 0; i++) {
		const TorporSemUndo *u = extra->sem_undos[i];

		if (!u->adjust || u->adjust > VALUE_MAX || u->adjust < -VALUE_MAX || u->num > UINT16_MAX)
			r = err_image(err, "the undo value %d of semaphore %u", u->adjust, u->num);
		else
			tell_undo(m, tape, u);
		/* one at a time: the value of the next one may depend on it */
		if (r == 0)
			r = husk_play(h, 0, tape, err);
		tape_reset(tape);
		if (r < 0)
			r = err_while(err, "restoring what task %d (%s) gives back to the System V "
				"semaphores %u", t->pid, task_comm(t), u->id);
	}
	tape_free(tape);
	return r;
}
