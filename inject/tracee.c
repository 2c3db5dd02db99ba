// SPDX-License-Identifier: GPL-2.0-or-later
/* Stopping threads of a living target by PTRACE_SEIZE (ptrace(2)), which leaves no trace in them. */
#include "inject/tracee.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* State letter and tracer of a thread; 'X' when there is none. */
static char state_of(pid_t tid, pid_t *ret_tracer)
{
	auto_free char *text = NULL;
	uint64_t tracer = 0;
	const char *state;

	if (io_slurpf(&text, NULL, "/proc/%d/status", tid) < 0)
		return 'X';
	(void)parse_field_u64(text, "TracerPid:", 10, &tracer);
	if (ret_tracer)
		*ret_tracer = (pid_t)tracer;
	state = strstr(text, "\nState:\t");
	return state ? state[8] : '?';
}

static bool has_ended(pid_t tid)
{
	char state = state_of(tid, NULL);

	return state == 'Z' || state == 'X';
}

static int err_gone(struct err *err, pid_t tid)
{
	return err_target(err, ESRCH, "task %d is gone", tid);
}

int tracee_seize(struct tracee *t, pid_t tid, pid_t tgid, unsigned options, struct err *err)
{
	pid_t tracer = 0;
	char state;
	int saved;

	*t = (struct tracee){ .tid = tid, .tgid = tgid };
	if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)(uintptr_t)options) == 0) {
		t->seized = true;
		return 0;
	}
	saved = errno;
	if (saved == ESRCH)
		return err_gone(err, tid);
	/* what has ended but is still there cannot be traced (ptrace_attach(): exit_state) */
	state = state_of(tid, &tracer);
	if (state == 'Z' || state == 'X')
		return err_gone(err, tid);
	/* of a stop that came to nothing: who did not stop could not be let go either */
	if (tracer == getpid()) {
		t->seized = true;
		return 0;
	}
	if (tracer)
		return err_target(err, saved, "task %d is being traced by process %d already", tid,
			tracer);
	return err_sysn(err, saved, "cannot trace task %d", tid);
}

int tracee_interrupt(struct tracee *t, struct err *err)
{
	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) < 0)
		return errno == ESRCH ? err_gone(err, t->tid) :
					err_sys(err, "cannot stop task %d", t->tid);
	return 0;
}

static int judge(pid_t tid, int status, int *ret_status, struct err *err)
{
	if (WIFSIGNALED(status))
		return err_target(err, ESRCH, "task %d was killed by signal %d", tid,
			WTERMSIG(status));
	if (!WIFSTOPPED(status))
		return err_target(err, ESRCH, "task %d exited with status %d", tid,
			WEXITSTATUS(status));
	*ret_status = status;
	return 0;
}

int tracee_wait(pid_t tid, int *ret_status, struct err *err)
{
	int status;
	pid_t got;

	do {
		got = waitpid(tid, &status, __WALL);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return err_sys(err, "cannot wait for task %d", tid);
	return judge(tid, status, ret_status, err);
}

static int err_late(struct err *err, pid_t tid)
{
	return err_target(err, ETIMEDOUT, "task %d does not stop within --timeout: it %s", tid,
		state_of(tid, NULL) == 'R'
			? "gets no time on a processor (this computer is busy and the task's "
			  "scheduling policy lets others go first)"
			: "is busy inside the kernel (perhaps waiting for a "
			  "disk or server that hangs)");
}

/*
 * Most stops come within microseconds, so look often at first, then more and more seldom; then also
 * for a leader that ended while other threads live on, of which waitpid(2) tells nothing. A thread
 * whose execve(2) made it the leader has lost its own number (ECHILD).
 */
static int wait_until(pid_t tid, uint64_t deadline_us, int *ret_status, struct err *err)
{
	const long seldom_ns = 2000000;
	struct timespec pause = { .tv_nsec = 20000 };
	int status;
	pid_t got;

	for (;;) {
		bool ended = pause.tv_nsec > seldom_ns && has_ended(tid);

		got = waitpid(tid, &status, __WALL | WNOHANG);
		if (got > 0)
			return judge(tid, status, ret_status, err);
		if (ended || (got < 0 && errno == ECHILD))
			return err_gone(err, tid);
		if (got < 0 && errno != EINTR)
			return err_sys(err, "cannot wait for task %d", tid);
		if (clock_us() > deadline_us)
			return err_late(err, tid);
		nanosleep(&pause, NULL);
		if (pause.tv_nsec <= seldom_ns)
			pause.tv_nsec *= 2;
	}
}

static int look_at_stop(struct tracee *t, int status, struct err *err)
{
	t->stopped = true;
	t->group_stopped = WSTOPSIG(status) != SIGTRAP;
	t->stop_signal = t->group_stopped ? WSTOPSIG(status) : 0;
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs) < 0)
		return err_sys(err, "cannot read registers of task %d", t->tid);
	if (ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask) < 0)
		return err_sys(err, "cannot read the signal mask of task %d", t->tid);
	return 0;
}

/*
 * Until the stop we asked for: a signal that is just being delivered goes to the target, other events
 * go on. Such a stop takes our request away if that came between the kernel's look for requests and
 * the stop (kernel/signal.c: any trap clears JOBCTL_TRAP_STOP), so it is made again; it is met before
 * any instruction of the handler.
 */
int tracee_wait_stop(struct tracee *t, uint64_t deadline_us, struct err *err)
{
	int status, signal, r;

	for (;;) {
		r = wait_until(t->tid, deadline_us, &status, err);
		if (r < 0) {
			t->seized = r != -ESRCH;
			return r;
		}
		if (tracee_event(status) == PTRACE_EVENT_STOP)
			return look_at_stop(t, status, err);
		signal = tracee_event(status) ? 0 : WSTOPSIG(status);
		(void)ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL); /* if it is gone the next says so */
		if (ptrace(PTRACE_CONT, t->tid, NULL, (void *)(uintptr_t)signal) < 0)
			return err_sys(err, "cannot continue task %d", t->tid);
	}
}

int tracee_still_stopped(struct tracee *t, uint64_t deadline_us, struct err *err)
{
	siginfo_t news = { 0 };

	if (waitid(P_PID, (id_t)t->tid, &news,
		    WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 &&
		!news.si_pid && state_of(t->tid, NULL) == 't')
		return 0;
	t->stopped = false;
	return tracee_wait_stop(t, deadline_us, err);
}

void tracee_release(struct tracee *t)
{
	if (t->seized && ptrace(PTRACE_DETACH, t->tid, NULL, NULL) < 0 && errno != ESRCH)
		log_warn("cannot detach from task %d: errno %d, it goes on when torpor ends",
			t->tid, errno);
	t->seized = t->stopped = false;
}
