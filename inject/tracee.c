// SPDX-License-Identifier: GPL-2.0-or-later
/* Stopping threads of a living target by PTRACE_SEIZE (ptrace(2)), which leaves no trace in them. */
#include "inject/tracee.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "inject/explain.h"
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

void tracee_take_ends(const struct tracee_kin *kin)
{
	/* a tracee's stops are told whatever is asked for (kernel/exit.c wait_task_stopped()) */
	for (size_t i = 0; kin && i < kin->n; i++) {
		siginfo_t news = { 0 };
		pid_t tid = kin->at[i].tid;

		if (waitid(P_PID, (id_t)tid, &news, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 &&
			news.si_pid && news.si_code != CLD_TRAPPED && news.si_code != CLD_STOPPED)
			(void)waitid(P_PID, (id_t)tid, &news, WEXITED | WNOHANG | __WALL);
	}
}

int tracee_seize(struct tracee *t, pid_t tid, pid_t tgid, unsigned options, struct err *err)
{
	long r = ptrace(PTRACE_SEIZE, tid, NULL, (void *)(uintptr_t)options);

	return tracee_seized(t, tid, tgid, r < 0 ? -errno : 0, err);
}

int tracee_seized(struct tracee *t, pid_t tid, pid_t tgid, int result, struct err *err)
{
	pid_t tracer = 0;
	char state;

	*t = (struct tracee){ .tid = tid, .tgid = tgid, .seized = result == 0 };
	if (t->seized)
		return 0;
	if (result == -ESRCH)
		return err_gone(err, tid);
	if (result == -EINTR && interrupt_check(err) < 0)
		return -EINTR;
	if (result == -ETIMEDOUT)
		return err_target(err, ETIMEDOUT,
			"task %d does not stop within --timeout: a thread of it does not come out of "
			"execve(2)", tgid);
	if (tgid == getpid())
		return err_target(err, EINVAL, "task %d is torpor itself, which cannot be stopped: run "
			"it from outside of the tree", tid);
	/* what has ended but is still there cannot be traced (ptrace_attach(): exit_state) */
	state = state_of(tid, &tracer);
	if (state == 'Z' || state == 'X')
		return err_gone(err, tid);
	/* of a stop that came to nothing: who did not stop could not be let go either */
	t->seized = tracer == getpid();
	if (t->seized)
		return 0;
	if (tracer)
		return err_target(err, -result, "task %d is being traced by process %d already", tid,
			tracer);
	return err_sysn(err, -result, "cannot trace task %d", tid);
}

int tracee_interrupt(struct tracee *t, struct err *err)
{
	if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) == 0)
		return 0;
	if (errno != ESRCH)
		return err_sys(err, "cannot stop task %d", t->tid);
	/* after execve(2) it goes by the leader's number, whom one asked may have been the old one */
	if (t->tid != t->tgid)
		(void)ptrace(PTRACE_INTERRUPT, t->tgid, NULL, NULL);
	return err_gone(err, t->tid);
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
	char place[128], frozen[400];

	if (explain_frozen(tid, frozen, sizeof(frozen)))
		return err_target(err, ETIMEDOUT, "task %d cannot be stopped: %s", tid, frozen);
	if (state_of(tid, NULL) == 'R')
		return err_target(err, ETIMEDOUT, "task %d does not stop within --timeout: it gets no "
			"time on a processor (this computer is busy and the task's scheduling policy "
			"lets others go first)", tid);
	explain_place(tid, place, sizeof(place));
	if (strstr(place, "refrigerator"))
		return err_target(err, ETIMEDOUT,
			"task %d cannot be stopped: its control group is frozen; thaw it", tid);
	return err_target(err, ETIMEDOUT, "task %d does not stop within --timeout: it is busy inside the "
		"kernel%s%s (perhaps waiting for a disk or server that hangs)", tid,
		*place ? " in " : "", place);
}

/*
 * Most stops come within microseconds, so look often at first, then more and more seldom; then also
 * for a leader that ended while other threads live on, of which waitpid(2) tells nothing, and for
 * ends that are in the way of this thread's execve(2), which makes it the leader: it has lost its
 * own number then (ECHILD).
 */
static int wait_until(pid_t tid, uint64_t deadline_us, const struct tracee_kin *kin, int *ret_status,
	struct err *err)
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
		if (interrupt_check(err) < 0)
			return -EINTR;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec <= seldom_ns)
			pause.tv_nsec *= 2;
		else
			tracee_take_ends(kin);
	}
}

static int look_at_stop(struct tracee *t, int status, struct err *err)
{
	t->group_stopped = WSTOPSIG(status) != SIGTRAP;
	t->stop_signal = t->group_stopped ? WSTOPSIG(status) : 0;
	if (ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs) < 0)
		return err_sys(err, "cannot read registers of task %d", t->tid);
	if (ptrace(PTRACE_GETSIGMASK, t->tid, sizeof(t->sigmask), &t->sigmask) < 0)
		return err_sys(err, "cannot read the signal mask of task %d", t->tid);
	return 0;
}

/* What came before the stop we asked for goes on: a signal that is just being delivered, an event. */
static int go_on(struct tracee *t, int status, struct err *err)
{
	int signal = tracee_event(status) ? 0 : WSTOPSIG(status);

	/*
	 * Such a stop takes our request away if that came between the kernel's look for requests and
	 * the stop (kernel/signal.c: any trap clears JOBCTL_TRAP_STOP), so it is made again; it is
	 * met before any instruction of the handler.
	 */
	(void)ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL);
	return ptrace(PTRACE_CONT, t->tid, NULL, (void *)(uintptr_t)signal) < 0 ?
		err_sys(err, "cannot continue task %d", t->tid) : 0;
}

int tracee_wait_stop(struct tracee *t, uint64_t deadline_us, const struct tracee_kin *kin,
	struct err *err)
{
	int status, r;

	for (;;) {
		bool stop;

		r = wait_until(t->tid, deadline_us, kin, &status, err);
		if (r < 0) {
			t->seized = r != -ESRCH;
			return r;
		}
		stop = tracee_event(status) == PTRACE_EVENT_STOP;
		r = stop ? look_at_stop(t, status, err) : go_on(t, status, err);
		t->stopped = stop && r == 0;
		if (t->stopped || (r < 0 && r != -ESRCH))
			return r;
		err_clear(err); /* if it was killed meanwhile, its end is told next */
	}
}

int tracee_still_stopped(struct tracee *t, uint64_t deadline_us, const struct tracee_kin *kin,
	struct err *err)
{
	siginfo_t news = { 0 };
	unsigned long unused;

	/* the kernel answers for stopped tracees only (ptrace_check_attach()) */
	if (waitid(P_PID, (id_t)t->tid, &news,
		    WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 &&
		!news.si_pid && ptrace(PTRACE_GETEVENTMSG, t->tid, NULL, &unused) == 0)
		return 0;
	t->stopped = false;
	return tracee_wait_stop(t, deadline_us, kin, err);
}

void tracee_release(struct tracee *t)
{
	if (t->seized && ptrace(PTRACE_DETACH, t->tid, NULL, NULL) < 0 && errno != ESRCH)
		log_warn("cannot detach from task %d: errno %d, it goes on when torpor ends",
			t->tid, errno);
	t->seized = t->stopped = false;
}
