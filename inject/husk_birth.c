// SPDX-License-Identifier: GPL-2.0-or-later
/* Forks and threads of husks. */
#include "inject/husk_priv.h"
#include "inject/tracee.h"
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

/* Births by one tape: its calls and data fit well. */
enum { BATCH = 2000 };

/* The kernel has attached the new task, which reports its first stop before any instruction. */
static int wait_born(pid_t tid, struct err *err)
{
	int status, r = tracee_wait(tid, &status, err);

	if (r == 0 && tracee_event(status) != PTRACE_EVENT_STOP)
		return err_bug(err, "new task %d stopped with status 0x%x", tid, status);
	return r;
}

static size_t tape_clone(struct tape *t, pid_t tid, uint64_t flags, int exit_signal)
{
	struct clone_args args = { .flags = flags | CLONE_PTRACE,
		.exit_signal = (uint64_t)exit_signal, .set_tid_size = tid ? 1 : 0 };
	size_t at = tape_data(t, &args, sizeof(args));

	if (tid)
		tape_point(t, at + offsetof(struct clone_args, set_tid),
			tape_data(t, &tid, sizeof(tid)));
	return tape_call(t, "clone", TAPE_MUST, SYS_clone3, T_DATA(at), T(sizeof(args)));
}

/*
 * Plays n clones, which are all calls of the tape, and waits for the new tasks; their number goes
 * to *ret_done, also after a failure. Husks live in our pid namespace, so their numbers are ours.
 */
static int play_clones(struct husk *h, struct tape *t, size_t n, pid_t *ret_born, size_t *ret_done,
	struct err *err)
{
	struct err ignored = ERR_INIT;
	int r = husk_play(h, 0, t, err);

	*ret_done = 0;
	for (size_t i = 0; i < n && tape_result(t, i) > 0; i++) {
		int rb = wait_born(ret_born[i] = (pid_t)tape_result(t, i), r < 0 ? &ignored : err);

		++*ret_done;
		r = r < 0 ? r : rb;
	}
	return r;
}

static void adopt(const struct husk *h, struct husk *child, pid_t pid)
{
	*child = *h;
	child->pid = pid;
	child->mem = -1;
}

static int play_forks(struct husk *h, const struct husk_birth *births,
	struct husk *const *children, size_t n, size_t *ret_done, struct err *err)
{
	struct tape *t = tape_new();
	pid_t born[BATCH];
	int r;

	for (size_t i = 0; i < n; i++)
		tape_clone(t, births[i].pid, births[i].flags,
			births[i].flags & CLONE_PARENT ? 0 : SIGCHLD);
	r = play_clones(h, t, n, born, ret_done, err);
	for (size_t i = 0; i < *ret_done; i++)
		adopt(h, children[i], born[i]);
	tape_free(t);
	return r;
}

/* Goes on where a number was not free yet: that of a task that has just ended. */
static int fork_batch(struct husk *h, const struct husk_birth *births,
	struct husk *const *children, size_t n, struct err *err)
{
	unsigned tries = 0;
	size_t done;
	int r;

	while ((r = play_forks(h, births, children, n, &done, err)) == -EEXIST && done < n &&
		husk_pid_may_be_free(&tries)) {
		err_clear(err);
		births += done;
		children += done;
		n -= done;
	}
	return r < 0 && done < n && births[done].pid ?
		err_while(err, "creating task %d", births[done].pid) : r;
}

int husk_fork_all(struct husk *h, const struct husk_birth *births, struct husk *const *children,
	size_t n, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < n; i++)
		children[i]->pid = 0;
	for (size_t i = 0; i < n && r == 0; i += BATCH)
		r = fork_batch(h, births + i, children + i, n - i < BATCH ? n - i : BATCH, err);
	return r;
}

int husk_fork(struct husk *h, const struct husk_birth *birth, struct husk *child, struct err *err)
{
	return husk_fork_all(h, birth, &child, 1, err);
}

/* Creates threads in order until one cannot be; *ret_done tells how many there are now. */
static int play_threads(struct husk *h, const pid_t *tids, size_t n, pid_t *ret_real,
	size_t *ret_done, struct err *err)
{
	const uint64_t flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		CLONE_SYSVSEM;
	struct tape *t = tape_new();
	int r;

	for (size_t i = 0; i < n; i++)
		tape_clone(t, tids[i], flags, 0);
	r = play_clones(h, t, n, ret_real, ret_done, err);
	tape_free(t);
	return r;
}

static int threads_batch(struct husk *h, const pid_t *tids, size_t n, pid_t *ret_real,
	struct err *err)
{
	unsigned tries = 0;
	size_t done;
	int r;

	while ((r = play_threads(h, tids, n, ret_real, &done, err)) == -EEXIST && done < n &&
		husk_pid_may_be_free(&tries)) {
		err_clear(err);
		tids += done;
		ret_real += done;
		n -= done;
	}
	if (r == -EEXIST && done < n)
		return err_while(err, "creating thread %d, whose number is in use", tids[done]);
	return r;
}

int husk_threads(struct husk *h, const pid_t *tids, size_t n, pid_t *ret_real, struct err *err)
{
	for (size_t i = 0; i < n; i += BATCH) {
		size_t m = n - i < BATCH ? n - i : BATCH;
		int r = threads_batch(h, tids + i, m, ret_real + i, err);

		if (r < 0)
			return err_while(err, "creating %zu threads of task %d", n, h->pid);
	}
	return 0;
}
