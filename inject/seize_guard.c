// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/seize_guard.h"
#include "base/interrupt.h"
#include "base/io.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <time.h>
#include <unistd.h>

struct seize_guard {
	timer_t timer;
	struct sigaction old;
	sigjmp_buf out;
	const struct tracee_kin *volatile kin; /* NULL: no call is going on */
	volatile uint64_t deadline_us;
};

/* A PTRACE_SEIZE that waits begins again after a handler, whatever SA_RESTART says: hence the jump. */
static void take_ends(int signal, siginfo_t *info, void *context)
{
	struct seize_guard *g = info->si_value.sival_ptr;
	int saved = errno;
	const struct tracee_kin *kin;

	if (info->si_code != SI_TIMER || !(kin = g->kin))
		return;
	tracee_take_ends(kin);
	if (interrupt_came() || clock_us() > g->deadline_us)
		siglongjmp(g->out, 1);
	errno = saved;
}

int seize_guard_new(struct seize_guard **ret, struct err *err)
{
	struct seize_guard *g = calloc(1, sizeof(*g));
	/* a jump leaves the handler without the return that would unblock the signal: SA_NODEFER */
	struct sigaction action = { .sa_sigaction = take_ends,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMAX };

	if (!g)
		return err_nomem(err);
	event.sigev_value.sival_ptr = g;
	event._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &event, &g->timer) < 0) {
		free(g);
		return err_sys(err, "cannot make a timer");
	}
	sigaction(SIGRTMAX, &action, &g->old);
	*ret = g;
	return 0;
}

void seize_guard_free(struct seize_guard *g)
{
	if (!g)
		return;
	timer_delete(g->timer);
	sigaction(SIGRTMAX, &g->old, NULL);
	free(g);
}

static void set_timer(struct seize_guard *g, long every_ns)
{
	const struct itimerspec spec = { { .tv_nsec = every_ns }, { .tv_nsec = every_ns } };

	timer_settime(g->timer, 0, &spec, NULL);
}

/* Nothing but the system call is between the two marks, so a jump leaves nothing half done. */
static int seize(struct seize_guard *g, const struct tracee_kin *kin, uint64_t deadline_us, pid_t tid,
	unsigned options)
{
	volatile int r = 1;

	if (sigsetjmp(g->out, 0) == 0) {
		set_timer(g, 5000000);
		g->deadline_us = deadline_us;
		g->kin = kin;
		r = ptrace(PTRACE_SEIZE, tid, NULL, (void *)(uintptr_t)options) < 0 ? -errno : 0;
	}
	g->kin = NULL;
	set_timer(g, 0);
	return r <= 0 ? r : interrupt_came() ? -EINTR : -ETIMEDOUT;
}

int seize_guarded(struct seize_guard *g, const struct tracee_kin *kin, uint64_t deadline_us,
	struct tracee *t, pid_t tid, pid_t tgid, unsigned options, struct err *err)
{
	enum { TRIES = 3 };
	int r = -EPERM;

	/* a leader that execve(2) of another thread has just replaced had ended: once more */
	for (int i = 0; i < TRIES && r == -EPERM; i++) {
		err_clear(err);
		r = tracee_seized(t, tid, tgid, seize(g, kin, deadline_us, tid, options), err);
	}
	return r;
}
