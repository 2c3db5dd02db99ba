// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread that a killed torpor has left on its way home meets a signal there, whose handler returns
 * to the cave: the next torpor must let that be.
 */
#include "inject/hold.h"
#include "patience.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int n_tests, n_failed;

static void ok(bool good, const char *what, const struct err *err)
{
	n_tests++;
	n_failed += !good;
	printf("%sok %d - %s%s%s\n", good ? "" : "not ", n_tests, what,
		err_is_set(err) ? ": " : "", err_is_set(err) ? err->text : "");
	fflush(stdout);
}

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
		socketpair(AF_UNIX, SOCK_STREAM, 0, tape_end) == 0;
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

static void test_handler(bool other_stack)
{
	struct err err = ERR_INIT;
	pid_t target = spawn_target(other_stack);
	struct tape *tape = tape_new();
	struct tracee t;
	struct hold h;
	int status = 0, r;
	char c;

	ok(target > 0 && sleeps_in_call(target, SYS_poll) && torpor_is_killed(target),
		"a torpor is killed while a task plays a tape", NULL);
	close(told[1]);
	ok(read(told[0], &c, 1) == 1, "a signal is handled on the way home", NULL);
	for (int i = 0; i < 2; i++) {
		r = hold(&h, &t, target, &err);
		if (r == 0) {
			tape_reset(tape);
			tape_call0(tape, "test", TAPE_MUST, SYS_getpid);
			r = hold_play(&(struct hold_turn){ .h = &h, .t = &t, .tape = tape }, 1, &err);
			hold_end(&h, 1);
		}
		ok(r == 0, "the next one asks", &err);
		tracee_release(&t);
	}
	ok(write(leave[1], "l", 1) == 1 && write(end[1], "e", 1) == 1 &&
			waitpid(target, &status, 0) == target,
		"the handler returns", NULL);
	if (!WIFEXITED(status))
		printf("# killed by signal %d\n", WTERMSIG(status));
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the task goes on where it was", NULL);
	tape_free(tape);
}

int main(void)
{
	test_handler(false);
	test_handler(true);
	printf("1..%d\n", n_tests);
	return n_failed != 0;
}
