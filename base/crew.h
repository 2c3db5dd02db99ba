/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A few threads that do jobs, for work that is nothing but computing and files. A crew lives within
 * one function call of its owner: no thread may exist when a process is cloned.
 *
 * - Jobs are begun in the order they were given. A job belongs to the crew from crew_give() until
 *   crew_wait() has returned for it.
 * - Threads get no signals: they are the coordinator's.
 */
#pragma once
#include <sched.h>
#include <stdbool.h>

enum { CREW_MOST = 8 };

struct job {
	/* worker: 1 to crew_size(), or 0 on the thread of the giver. */
	void (*run)(struct job *job, unsigned worker);
	struct job *next;
	bool done, waited_for;
};

struct crew;

/*
 * As many threads as there are processors (cpus, or those of the caller if NULL), but not more than
 * CREW_MOST. Where no thread can be had jobs are done by crew_give(). Never NULL.
 */
struct crew *crew_new(const cpu_set_t *cpus);
/* Number of threads. */
unsigned crew_size(const struct crew *c);
void crew_give(struct crew *c, struct job *job);
void crew_wait(struct crew *c, struct job *job);
/* Finishes all jobs, ends all threads. NULL is fine. */
void crew_free(struct crew *c);
