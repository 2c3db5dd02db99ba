/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * semaphores: POSIX ones in /dev/shm, by name and unlinked, and one without a name in shared memory;
 * a child waits for one, with and without time limit, when the state is saved.
 */
#include "subject.h"
#include <semaphore.h>

enum { VALUE = 7 };

static sem_t *named, *unlinked, *wanted, *answer;
static struct shared {
	sem_t inside;
	volatile int seen;
} *shared;

static sem_t *open_sem(const char *what, unsigned value, bool keep)
{
	char name[64];
	sem_t *s;

	snprintf(name, sizeof(name), "/torpor-%d-%s", getpid(), what);
	s = sem_open(name, O_CREAT | O_EXCL, 0600, value);
	NEED(s != SEM_FAILED);
	if (!keep)
		NEED(sem_unlink(name) == 0);
	return s;
}

static void kid(void *arg)
{
	struct timespec late;

	(void)arg;
	CHECK(clock_gettime(CLOCK_REALTIME, &late) == 0);
	late.tv_sec += 3000;
	child_up();
	while (sem_wait(wanted) < 0)
		CHECK(errno == EINTR);
	shared->seen = 1;
	CHECK(sem_post(answer) == 0);
	while (sem_timedwait(&shared->inside, &late) < 0)
		CHECK(errno == EINTR);
	shared->seen = 2;
	CHECK(sem_post(answer) == 0);
	wait_term();
}

static void await(sem_t *s)
{
	struct timespec soon;

	CHECK(clock_gettime(CLOCK_REALTIME, &soon) == 0);
	soon.tv_sec += PATIENCE_MS / 1000;
	while (sem_timedwait(s, &soon) < 0)
		CHECK(errno == EINTR);
}

static int value_of(sem_t *s)
{
	int n = -1;

	CHECK(sem_getvalue(s, &n) == 0);
	return n;
}

int main(int argc, char **argv)
{
	char name[64];
	pid_t pid;
	sem_t *again;

	subject_init(argc, argv);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	NEED(shared != MAP_FAILED && sem_init(&shared->inside, 1, 0) == 0);
	named = open_sem("named", VALUE, true);
	unlinked = open_sem("unlinked", VALUE + 1, false);
	wanted = open_sem("wanted", 0, true);
	answer = open_sem("answer", 0, false);
	pid = child(kid, NULL);
	NEED(process_reaches(pid, 'S'));
	ready();
	wait_term();
	SAME(value_of(named), VALUE);
	SAME(value_of(unlinked), VALUE + 1);
	SAME(shared->seen, 0);
	snprintf(name, sizeof(name), "/torpor-%d-wanted", getpid());
	again = sem_open(name, 0);
	CHECK(again != SEM_FAILED && sem_post(again) == 0);
	await(answer);
	SAME(shared->seen, 1);
	CHECK(sem_post(&shared->inside) == 0);
	await(answer);
	SAME(shared->seen, 2);
	SAME(value_of(answer), 0);
	child_end(pid);
	CHECK(sem_unlink(name) == 0);
	snprintf(name, sizeof(name), "/torpor-%d-named", getpid());
	CHECK(sem_unlink(name) == 0);
	pass();
}
