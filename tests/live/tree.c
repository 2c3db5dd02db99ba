/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tree: children made in any order, three levels deep, in sessions and process groups of their
 * own, of their parent and of a sibling; one child has a lower pid than its parent.
 */
#include "subject.h"
#include <linux/sched.h>

enum { PLAIN, OWN_GROUP, IN_GROUP, OWN_SESSION, GRANDPARENT, KINDS };

static pid_t kids[KINDS];

static void leaf(void *arg)
{
	struct self s;

	(void)arg;
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
}

static void leading(void *arg)
{
	NEED(setpgid(0, 0) == 0);
	leaf(arg);
}

static void in_group(void *arg)
{
	NEED(setpgid(0, *(pid_t *)arg) == 0);
	leaf(arg);
}

static void in_session(void *arg)
{
	struct self s;
	pid_t inner;

	(void)arg;
	NEED(setsid() == getpid());
	NEED(prctl(PR_SET_NAME, "a session") == 0);
	inner = child(leading, NULL);
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
	SAME(getpgid(inner), inner);
	SAME(getsid(inner), getpid());
	child_end(inner);
}

static void grandparent(void *arg)
{
	struct self s;
	pid_t a, b;

	(void)arg;
	a = child(in_session, NULL);
	b = child(leaf, NULL);
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
	child_end(b);
	child_end(a);
}

/* A child with a lower pid than ours, where pids may be chosen. */
static pid_t low_child(void)
{
	pid_t want = getpid() - 1, pid;
	struct clone_args ca = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&want,
		.set_tid_size = 1 };
	struct self s;

	if (kill(want, 0) == 0)
		return 0;
	self_note(&s, false);
	pid = syscall(SYS_clone3, &ca, sizeof(ca));
	if (pid != 0)
		return pid;
	s.pid = s.tid = want;
	wait_term();
	self_check(&s);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct self s;
	pid_t low;

	subject_init(argc, argv);
	kids[OWN_GROUP] = child(leading, NULL);
	kids[PLAIN] = child(leaf, NULL);
	kids[GRANDPARENT] = child(grandparent, NULL);
	kids[IN_GROUP] = child(in_group, &kids[OWN_GROUP]);
	kids[OWN_SESSION] = child(in_session, NULL);
	low = low_child();
	ready();
	self_note(&s, false);
	wait_term();
	self_check(&s);
	for (int i = 0; i < KINDS; i++)
		child_end(kids[i]);
	if (low > 0)
		child_end(low);
	CHECK(waitpid(-1, NULL, __WALL) < 0 && errno == ECHILD);
	pass();
}
