// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread that a killed torpor has left on its way home meets a signal there, whose handler returns
 * to the cave: the next torpor must let that be. So it must with two caves of which one leads to the
 * other.
 */
#include "inject/hold_priv.h"
#include "patience.h"
#include "tap.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct tap tap;

/*
 * Of the target: its handler says that it runs and waits until it may return; the tape waits for a
 * byte, too.
 */
static int told[2], leave[2], end[2], tape_end[2];

static void handler(int signo)
{
	char c = 'h';

	if (write(told[1], &c, 1) != 1 || read(leave[0], &c, 1) != 1)
		_exit(1);
}

static pid_t spawn_target(bool other_stack)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
	bool pipes = pipe(told) == 0 && pipe(leave) == 0 && pipe(end) == 0 &&
		socketpair(AF_UNIX, SOCK_DGRAM, 0, tape_end) == 0;
	pid_t pid = pipes ? fork() : -1;
	stack_t stack = { .ss_size = 65536 };
	struct pollfd p = { .fd = end[0], .events = POLLIN };
	char c = 0;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (other_stack) {
		stack.ss_sp = malloc(stack.ss_size);
		sigaltstack(&stack, NULL);
		action.sa_flags |= SA_ONSTACK;
	}
	sigaction(SIGUSR1, &action, NULL);
	/* poll(2) is not begun again after a handler */
	while (poll(&p, 1, -1) != 1)
		;
	_exit(read(end[0], &c, 1) == 1 && c == 'e' ? 7 : 1);
}

static int hold(struct hold *h, struct tracee *t, pid_t pid, struct err *err)
{
	int r = tracee_seize(t, pid, pid, PTRACE_O_TRACESYSGOOD, err);

	if (r == 0)
		r = tracee_interrupt(t, err);
	if (r == 0)
		r = tracee_wait_stop(t, patience_ends(), NULL, err);
	return r < 0 ? r : hold_begin(h, &(struct tracee *){ t }, 1, 60, err);
}

/* Plays a tape that takes as long as we want, and is killed meanwhile. */
static bool torpor_is_killed(pid_t target)
{
	pid_t pid = fork();
	bool meant;

	if (pid == 0) {
		struct err err = ERR_INIT;
		struct tape *tape = tape_new();
		struct tracee t;
		struct hold h;
		size_t d;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (hold(&h, &t, target, &err) < 0)
			_exit(1);
		d = tape_room(tape, 1);
		tape_call(tape, "test", 0, SYS_recvfrom, T(tape_end[0]), T_DATA(d), T(1), T(0),
			T(0), T(0));
		(void)!hold_play(&(struct hold_turn){ .h = &h, .t = &t, .tape = tape }, 1, &err);
		_exit(2);
	}
	meant = sleeps_in_call(target, SYS_recvfrom) && kill(target, SIGUSR1) == 0;
	kill(pid, SIGKILL);
	return waitpid(pid, NULL, 0) == pid && write(tape_end[1], "t", 1) == 1 && meant;
}

/* Two more torpors, to the end. */
static void next_ones_ask(pid_t target)
{
	struct err err = ERR_INIT;
	struct tracee t;
	struct hold h;

	for (int i = 0; i < 2; i++) {
		int r = hold(&h, &t, target, &err);

		if (r == 0) {
			struct tape *tape = tape_new();

			tape_call0(tape, "test", TAPE_MUST, SYS_getpid);
			r = hold_play(&(struct hold_turn){ .h = &h, .t = &t, .tape = tape }, 1, &err);
			hold_end(&h, 1);
			tape_free(tape);
		}
		tap_ok(&tap, r == 0, "the next one asks", &err);
		tracee_release(&t);
	}
}

static void has_ended_well(int status)
{
	if (!WIFEXITED(status))
		printf("# killed by signal %d\n", WTERMSIG(status));
	tap_ok(&tap, WIFEXITED(status) && WEXITSTATUS(status) == 7, "the task goes on where it was", NULL);
}

static void test_handler(bool other_stack)
{
	pid_t target = spawn_target(other_stack);
	int status = 0;
	char c;

	tap_ok(&tap, target > 0 && sleeps_in_call(target, SYS_poll) && torpor_is_killed(target),
		"a torpor is killed while a task plays a tape", NULL);
	close(told[1]);
	tap_ok(&tap, read(told[0], &c, 1) == 1, "a signal is handled on the way home", NULL);
	next_ones_ask(target);
	tap_ok(&tap, write(leave[1], "l", 1) == 1 && write(end[1], "e", 1) == 1 &&
			waitpid(target, &status, 0) == target,
		"the handler returns", NULL);
	has_ended_well(status);
}

/* Is killed when the thread stands before the cave, where a call waits as long as we want. */
static bool torpor_is_killed_before_cave(pid_t target)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct err err = ERR_INIT;
		struct user_regs_struct regs;
		struct tracee t;
		struct hold h;

		if (hold(&h, &t, target, &err) < 0 || hold_load_cave(&h, &t, &err) < 0)
			_exit(1);
		regs = t.regs;
		regs.rip = h.cave;
		regs.orig_rax = (unsigned long)-1;
		regs.rax = SYS_recvfrom;
		regs.rdi = (unsigned long)tape_end[0];
		regs.rsi = regs.rdx = regs.r10 = regs.r8 = regs.r9 = 0;
		_exit(hold_start_at(&h, &t, &regs, &err) == 0 ? 0 : 1);
	}
	return waitpid(pid, &status, 0) == pid && status == 0 && sleeps_in_call(target, SYS_recvfrom);
}

static void test_chain(void)
{
	pid_t target = spawn_target(false);
	int status = 0;

	tap_ok(&tap, target > 0 && sleeps_in_call(target, SYS_poll), "another target", NULL);
	for (int i = 0; i < 2; i++)
		tap_ok(&tap, torpor_is_killed_before_cave(target), "a torpor is killed on the way home of a task",
			NULL);
	next_ones_ask(target);
	/* an empty message for each of the calls */
	tap_ok(&tap, send(tape_end[1], "", 0, 0) == 0 && send(tape_end[1], "", 0, 0) == 0 &&
			write(end[1], "e", 1) == 1 && waitpid(target, &status, 0) == target,
		"both calls return", NULL);
	has_ended_well(status);
}

int main(void)
{
	test_handler(false);
	test_handler(true);
	test_chain();
	return tap_done(&tap);
}
