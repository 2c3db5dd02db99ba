// SPDX-License-Identifier: GPL-2.0-or-later
/* See base/crew.h. One queue, one lock; jobs are large (a hundred microseconds and more). */
#include "base/crew.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

struct member {
	struct crew *crew;
	unsigned number; /* from 1 */
	pthread_t thread;
};

struct crew {
	pthread_mutex_t lock;
	pthread_cond_t work, done;
	struct job *first, **last;
	bool end;
	unsigned n;
	struct member members[CREW_MOST];
};

static struct job *next_job(struct crew *c)
{
	struct job *job;

	while (!c->first && !c->end)
		pthread_cond_wait(&c->work, &c->lock);
	job = c->first;
	if (!job)
		return NULL;
	c->first = job->next;
	if (!c->first)
		c->last = &c->first;
	return job;
}

static void *member_main(void *arg)
{
	struct member *m = arg;
	struct crew *c = m->crew;
	struct job *job;

	pthread_mutex_lock(&c->lock);
	while ((job = next_job(c))) {
		pthread_mutex_unlock(&c->lock);
		job->run(job, m->number);
		pthread_mutex_lock(&c->lock);
		job->done = true;
		if (job->waited_for) /* waking costs more than many a job */
			pthread_cond_broadcast(&c->done);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static void start(struct crew *c, unsigned wanted, const cpu_set_t *cpus)
{
	pthread_attr_t attr;
	sigset_t all, old;

	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(*cpus), cpus);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (; c->n < wanted; c->n++) {
		struct member *m = &c->members[c->n];

		*m = (struct member){ .crew = c, .number = c->n + 1 };
		if (pthread_create(&m->thread, &attr, member_main, m))
			break;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
}

struct crew *crew_new(const cpu_set_t *cpus)
{
	struct crew *c = calloc(1, sizeof(*c));
	cpu_set_t own;
	int n;

	if (!c)
		abort();
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->work, NULL);
	pthread_cond_init(&c->done, NULL);
	c->last = &c->first;
	if (!cpus) {
		CPU_ZERO(&own);
		sched_getaffinity(0, sizeof(own), &own);
		cpus = &own;
	}
	n = CPU_COUNT(cpus);
	start(c, n < CREW_MOST ? (unsigned)n : CREW_MOST, cpus);
	return c;
}

unsigned crew_size(const struct crew *c)
{
	return c->n;
}

void crew_give(struct crew *c, struct job *job)
{
	job->next = NULL;
	job->done = job->waited_for = false;
	if (!c->n) {
		job->run(job, 0);
		job->done = true;
		return;
	}
	pthread_mutex_lock(&c->lock);
	*c->last = job;
	c->last = &job->next;
	pthread_cond_signal(&c->work);
	pthread_mutex_unlock(&c->lock);
}

void crew_wait(struct crew *c, struct job *job)
{
	pthread_mutex_lock(&c->lock);
	job->waited_for = true;
	while (!job->done)
		pthread_cond_wait(&c->done, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void crew_free(struct crew *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->end = true;
	pthread_cond_broadcast(&c->work);
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; i < c->n; i++)
		pthread_join(c->members[i].thread, NULL);
	pthread_cond_destroy(&c->done);
	pthread_cond_destroy(&c->work);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
