// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What each task and thread is like: first from outside (survey, look), then by asking it
 * (interview), then once more from outside (review). Facets do the work; this file only walks them.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "dump/ctx.h"
#include "inject/hold.h"
#include "kinds/kind.h"
#include "kinds/mem/mm.h"
#include "kinds/sysv.h"
#include "kinds/task/task.h"
#include "kinds/uring.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int dump_survey(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = sysv_reserve(d->files, err);

	if (r < 0)
		return r;

	vec_each(s, &d->subjects) {
		if (s->zombie)
			continue;
		r = mm_look(d->world, s->task, subject_voice(s)->tid, d->files, d->o, err);
		if (r < 0)
			return err_while(err, "looking at the memory of task %d (%s)", s->pid,
				task_comm(s->task));
	}
	return 0;
}

/* Texts and descriptors a struct look points to. */
struct look_at {
	struct look look;
	char *status, *stat;
};

static void look_close(struct look_at *l)
{
	free(l->status);
	free(l->stat);
	if (l->look.proc >= 0)
		close(l->look.proc);
}

static int look_open(struct look_at *l, struct dump *d, const struct subject *s, struct thread *th,
	struct err *err)
{
	char path[64];
	int r;

	*l = (struct look_at){ .look = { .world = d->world, .thread = th, .tid = th->real,
				       .tgid = s->pid, .proc = -1, .options = d->o } };
	snprintf(path, sizeof(path), "/proc/%d/task/%d", s->pid, th->real);
	l->look.proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->look.proc < 0)
		return err_sys(err, "cannot look at task %d", th->real);
	r = io_slurp_at(l->look.proc, "status", &l->status, NULL);
	if (r == 0)
		r = io_slurp_at(l->look.proc, "stat", &l->stat, NULL);
	if (r < 0)
		return err_sysn(err, -r, "cannot read about task %d", th->real);
	l->look.status = l->status;
	l->look.stat = l->stat;
	return 0;
}

/* The thread of a tracee; both are in the same order. */
static struct thread *thread_of(const struct subject *s, size_t i)
{
	return &s->task->threads[i + s->leader_dead];
}

static bool facet_wanted(const struct facet *f, size_t thread_index)
{
	return f->scope == PER_THREAD || thread_index == 0;
}

static int look_thread(struct dump *d, struct subject *s, size_t i, int mem, struct err *err)
{
	struct tracee *t = &s->tracees[i];
	struct look_at l;
	int r = look_open(&l, d, s, thread_of(s, i), err);

	/* before anything is injected: the kernel would abort the critical section by itself */
	if (r == 0)
		r = rseq_fix_ip(t->tid, mem, &t->regs, err);
	if (r >= 0)
		r = regs_look(&l.look, &t->regs, err);
	for (size_t f = 0; facets[f] && r == 0; f++)
		if (facets[f]->look && facet_wanted(facets[f], i))
			r = facets[f]->look(&l.look, err);
	look_close(&l);
	if (r < 0)
		return err_while(err, "looking at task %d (%s)", t->tid, task_comm(s->task));
	return 0;
}

static int look_process(struct dump *d, struct subject *s, struct err *err)
{
	char path[64];
	auto_close int mem = -1;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/mem", subject_voice(s)->tid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (mem < 0)
		return err_sys(err, "cannot open the memory of task %d", s->pid);
	for (size_t i = 0; i < s->n_tracees && r == 0; i++)
		r = look_thread(d, s, i, mem, err);
	return r;
}

int dump_look(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = 0;

	vec_each(s, &d->subjects)
		if (!s->zombie && r == 0)
			r = look_process(d, s, err);
	return r;
}

enum { MAX_FACETS = 64, TOGETHER = 64 };

/* Processes that are asked at the same time, thread by thread. */
struct interview {
	struct dump *d;
	size_t n;
	struct subject *subjects[TOGETHER];
	struct tracee *voices[TOGETHER];
	struct hold holds[TOGETHER];
	struct tape *tapes[TOGETHER];
	struct cue cues[TOGETHER][MAX_FACETS];
	uint64_t asked_us;
};

static struct look look_inside(const struct interview *iv, size_t who, size_t thread)
{
	const struct subject *s = iv->subjects[who];

	return (struct look){ .world = iv->d->world, .thread = thread_of(s, thread), .proc = -1,
		.tid = s->tracees[thread].tid, .tgid = s->pid, .options = iv->d->o, .status = "",
		.stat = "", .asked_us = iv->asked_us };
}

static int ask(struct interview *iv, size_t who, size_t thread, struct err *err)
{
	struct look look = look_inside(iv, who, thread);
	int r = 0;

	tape_reset(iv->tapes[who]);
	for (size_t f = 0; facets[f] && r == 0; f++)
		if (facets[f]->ask && facet_wanted(facets[f], thread))
			r = facets[f]->ask(iv->tapes[who], &look, &iv->cues[who][f], err);
	return r;
}

static int learn(struct interview *iv, size_t who, size_t thread, struct err *err)
{
	struct look look = look_inside(iv, who, thread);
	int r = 0;

	for (size_t f = 0; facets[f] && r == 0; f++)
		if (facets[f]->learn && facet_wanted(facets[f], thread))
			r = facets[f]->learn(iv->tapes[who], &look, &iv->cues[who][f], err);
	return r;
}

/* Thread number `thread` of every process that has so many; 1 if there was one. */
static int ask_round(struct interview *iv, size_t thread, struct err *err)
{
	struct hold_turn turns[TOGETHER];
	size_t who[TOGETHER], n = 0, i = 0;
	int r = 0;

	for (; i < iv->n && r == 0; i++) {
		if (thread >= iv->subjects[i]->n_tracees)
			continue;
		r = ask(iv, i, thread, err);
		who[n] = i;
		turns[n++] = (struct hold_turn){ .h = &iv->holds[i],
			.t = &iv->subjects[i]->tracees[thread], .tape = iv->tapes[i] };
	}
	if (r == 0 && n)
		r = hold_play(turns, n, err);
	else if (r < 0)
		return err_while(err, "asking task %d", turns[n - 1].t->tid);
	for (i = 0; i < n && r == 0; i++) {
		r = learn(iv, who[i], thread, err);
		if (r < 0)
			return err_while(err, "asking task %d", turns[i].t->tid);
	}
	return r < 0 ? r : n > 0;
}

static int review_process(struct interview *iv, size_t who, struct err *err)
{
	const struct subject *s = iv->subjects[who];
	int r = 0;

	for (size_t f = 0; facets[f] && r == 0; f++) {
		for (size_t i = 0; facets[f]->review && i < s->n_tracees && r == 0; i++) {
			struct look look = look_inside(iv, who, i);

			if (facet_wanted(facets[f], i))
				r = facets[f]->review(&look, err);
		}
	}
	return r < 0 ? err_while(err, "looking again at task %d (%s)", s->pid, task_comm(s->task)) :
		       0;
}

static int ask_together(struct interview *iv, struct err *err)
{
	int r = hold_begin(iv->holds, iv->voices, iv->n, options_peer_patience(iv->d->o), err);

	if (r < 0)
		return r;
	r = 1;
	iv->asked_us = clock_us();
	for (size_t thread = 0; r > 0; thread++)
		r = ask_round(iv, thread, err);
	hold_end(iv->holds, iv->n);
	for (size_t i = 0; i < iv->n && r == 0; i++)
		r = review_process(iv, i, err);
	iv->n = 0;
	return r;
}

static struct interview *interview_new(struct dump *d)
{
	struct interview *iv = calloc(1, sizeof(*iv));

	if (!iv)
		return NULL;
	iv->d = d;
	for (size_t i = 0; i < TOGETHER; i++)
		iv->tapes[i] = tape_new();
	return iv;
}

static void interview_free(struct interview *iv)
{
	for (size_t i = 0; i < TOGETHER; i++)
		tape_free(iv->tapes[i]);
	free(iv);
}

int dump_interview(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	struct interview *iv = interview_new(d);
	int r = 0;

	if (!iv)
		return err_nomem(err);
	vec_each(s, &d->subjects) {
		if (s->zombie || r < 0)
			continue;
		iv->subjects[iv->n] = s;
		iv->voices[iv->n++] = subject_voice(s);
		if (iv->n == TOGETHER)
			r = ask_together(iv, err);
	}
	if (r == 0 && iv->n)
		r = ask_together(iv, err);
	interview_free(iv);
	vec_each(s, &d->subjects)
		if (!s->zombie && r == 0) {
			r = sysv_ask_undo(d->world, s->task, subject_voice(s),
				options_peer_patience(d->o), err);
			if (r == 0)
				r = uring_wait(s->task, s->tracees, s->n_tracees, dump_deadline(d),
					options_peer_patience(d->o), err);
		}
	return r;
}
