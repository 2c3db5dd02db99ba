// SPDX-License-Identifier: GPL-2.0-or-later
/* Threads that are seized while another one of their process is in execve(2). */
#include "base/io.h"
#include "inject/seize_guard.h"
#include "patience.h"
#include "tap.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tap tap;

/* The process: a leader, a thread that sleeps, one that executes `sleep` when a byte comes. */
struct target {
	pid_t pid, sleeper, caller;
	int told[2], begin[2];
};

static void *sleeps(void *arg)
{
	struct target *t = arg;
	pid_t tid = gettid();

	if (write(t->told[1], &tid, sizeof(tid)) != sizeof(tid))
		_exit(1);
	for (;;)
		pause();
	return NULL;
}

static void *executes(void *arg)
{
	struct target *t = arg;
	pid_t tid = gettid();
	char c;

	if (write(t->told[1], &tid, sizeof(tid)) != sizeof(tid) || read(t->begin[0], &c, 1) != 1)
		_exit(1);
	execlp("sleep", "sleep", "1000", NULL);
	_exit(1);
	return NULL;
}

static bool start(struct target *t)
{
	pthread_t thread;

	if (pipe(t->told) < 0 || pipe(t->begin) < 0)
		return false;
	t->pid = fork();
	if (t->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pthread_create(&thread, NULL, sleeps, t);
		if (read(t->begin[0], &(char){ 0 }, 1) == 1)
			pthread_create(&thread, NULL, executes, t);
		for (;;)
			pause();
	}
	return read(t->told[0], &t->sleeper, sizeof(pid_t)) == sizeof(pid_t) &&
		write(t->begin[1], "", 1) == 1 &&
		read(t->told[0], &t->caller, sizeof(pid_t)) == sizeof(pid_t);
}

static void end(struct target *t)
{
	kill(t->pid, SIGKILL);
	waitpid(t->pid, NULL, __WALL);
	for (int i = 0; i < 2; i++) {
		close(t->told[i]);
		close(t->begin[i]);
	}
}

static bool has_state(pid_t pid, pid_t tid, char state)
{
	auto_free char *text = NULL;
	const char *paren;

	if (io_slurpf(&text, NULL, "/proc/%d/task/%d/stat", pid, tid) < 0)
		return false;
	paren = strrchr(text, ')');
	return paren && paren[1] && paren[2] == state;
}

/* The call has come so far that it waits for the end of the sleeper, which is killed already. */
static bool call(struct target *t)
{
	if (write(t->begin[1], "", 1) != 1)
		return false;
	for (uint64_t end = patience_ends(); clock_us() < end; usleep(1000))
		if (has_state(t->pid, t->sleeper, 'Z') && has_state(t->pid, t->caller, 'D'))
			return true;
	return false;
}

/* Whom the tracer has not waited for is in the way of execve(), and this one in the tracer's. */
static void test_ours(struct seize_guard *g)
{
	struct err err = ERR_INIT;
	struct target t;
	struct tracee all[3];
	struct tracee_kin kin = { all, 1 };
	const uint64_t last = patience_ends();
	int r = start(&t) ? 0 : -ECHILD;
	bool is_ours;

	if (r == 0)
		r = tracee_seize(&all[0], t.sleeper, t.pid, 0, &err);
	tap_ok(&tap, r == 0 && call(&t), "a thread in execve(2) waits for a tracee of ours", &err);
	r = seize_guarded(g, &kin, last, &all[1], t.caller, t.pid, 0, &err);
	/* PTRACE_SEIZE looks for it again after each look of the guard: it may be the leader by then */
	is_ours = r == 0;
	tap_ok(&tap, r == 0 || r == -ESRCH, "it goes on, as another program", &err);
	err_clear(&err);
	r = tracee_interrupt(&all[1], &err);
	tap_ok(&tap, r == -ESRCH, "its own number is gone", &err);
	err_clear(&err);
	r = tracee_wait_stop(&all[0], last, &kin, &err);
	tap_ok(&tap, r == -ESRCH, "the tracee has ended", &err);
	err_clear(&err);
	all[2] = (struct tracee){ .tid = t.pid, .tgid = t.pid, .seized = true };
	kin.n = 0;
	r = is_ours ? 0 : seize_guarded(g, &kin, last, &all[2], t.pid, t.pid, 0, &err);
	if (r == 0 && !is_ours)
		r = tracee_interrupt(&all[2], &err);
	if (r == 0)
		r = tracee_wait_stop(&all[2], last, &kin, &err);
	tap_ok(&tap, r == 0, "the leader, which it is now, stops", &err);
	tracee_release(&all[2]);
	end(&t);
}

/* Whom another tracer does not wait for is nobody's to help: the time passes. */
static void test_others(struct seize_guard *g)
{
	struct err err = ERR_INIT;
	struct target t;
	struct tracee one;
	struct tracee_kin kin = { 0 };
	uint64_t last;
	int said[2], r = start(&t) && pipe(said) == 0 ? 0 : -ECHILD;
	pid_t tracer = r == 0 ? fork() : -1;

	if (tracer == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		r = tracee_seize(&one, t.sleeper, t.pid, 0, &err);
		(void)!write(said[1], &r, sizeof(r));
		for (;;)
			pause();
	}
	tap_ok(&tap, tracer > 0 && read(said[0], &r, sizeof(r)) == sizeof(r) && r == 0 && call(&t),
		"a thread in execve(2) waits for a tracee of somebody else", &err);
	last = clock_us() + 100000;
	r = seize_guarded(g, &kin, last, &one, t.caller, t.pid, 0, &err);
	tap_ok(&tap, r == -ETIMEDOUT && strstr(err.text, "--timeout") && strstr(err.text, "execve"),
		"it is given up in time", &err);
	err_clear(&err);
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	last = patience_ends();
	/* whom it finds may be the old leader, at its end */
	do {
		err_clear(&err);
		r = seize_guarded(g, &kin, last, &one, t.pid, t.pid, 0, &err);
	} while (r == -ESRCH && clock_us() < last);
	tap_ok(&tap, r == 0, "after the other tracer's end it can be had", &err);
	tracee_release(&one);
	end(&t);
}

int main(void)
{
	struct seize_guard *g = NULL;
	struct err err = ERR_INIT;
	int r = seize_guard_new(&g, &err);

	tap_ok(&tap, r == 0, "seize_guard_new", &err);
	if (r == 0) {
		test_ours(g);
		test_others(g);
	}
	seize_guard_free(g);
	return tap_done(&tap);
}
