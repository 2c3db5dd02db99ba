/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * groups: process groups and sessions whose leaders are gone, a group joined by a sibling, orphans
 * taken over by a subreaper.
 */
#include "subject.h"

static pid_t joined; /* group to join */
static volatile pid_t *shared; /* pids told across processes */

enum { ORPHAN_GROUP, ORPHAN_SESSION, ORPHAN_SUB, SHARED };

static void leaf(void *arg)
{
	struct self s;

	(void)arg;
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
}

static void joining(void *arg)
{
	NEED(setpgid(0, joined) == 0);
	leaf(arg);
}

static void leading(void *arg)
{
	NEED(setpgid(0, 0) == 0);
	leaf(arg);
}

/* An orphan: waits until it has a new parent before it notes itself. */
static void orphan(int slot, pid_t old_parent)
{
	struct self s;

	while (getppid() == old_parent)
		usleep(1000);
	self_note(&s, true);
	shared[slot] = getpid();
	wait_term();
	self_check(&s);
	_exit(0);
}

/* A child that leads a group or a session, leaves an orphan in it and exits. */
static void make_orphan(int slot, bool session)
{
	pid_t pid = fork(), me;

	NEED(pid >= 0);
	if (pid == 0) {
		me = getpid();
		NEED(session ? setsid() == me : setpgid(0, 0) == 0);
		pid = fork();
		NEED(pid >= 0);
		if (pid == 0)
			orphan(slot, me);
		_exit(0);
	}
	NEED(child_reap(pid) == 0);
	while (!shared[slot])
		usleep(1000);
	NEED(getpgid(shared[slot]) == pid);
	NEED(getsid(shared[slot]) == (session ? pid : getsid(0)));
}

static void subreaper(void *arg)
{
	struct self s;
	int reaper = 0;

	(void)arg;
	NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	make_orphan(ORPHAN_SUB, false);
	self_note(&s, true);
	child_up();
	wait_term();
	self_check(&s);
	CHECK(prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0 && reaper == 1);
	child_end(shared[ORPHAN_SUB]);
}

int main(int argc, char **argv)
{
	pid_t group, session, lead, join, sub;
	int reaper = 0;

	subject_init(argc, argv);
	shared = map(4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	make_orphan(ORPHAN_GROUP, false);
	make_orphan(ORPHAN_SESSION, true);
	lead = child(leading, NULL);
	joined = lead;
	join = child(joining, NULL);
	sub = child(subreaper, NULL);
	group = getpgid(shared[ORPHAN_GROUP]);
	session = getsid(shared[ORPHAN_SESSION]);
	ready();
	wait_term();
	CHECK(prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0 && reaper == 1);
	SAME(getpgid(shared[ORPHAN_GROUP]), group);
	SAME(getsid(shared[ORPHAN_SESSION]), session);
	SAME(getpgid(shared[ORPHAN_SESSION]), session);
	CHECK(kill(group, 0) < 0 && errno == ESRCH);
	CHECK(kill(session, 0) < 0 && errno == ESRCH);
	SAME(getpgid(join), lead);
	/* reach a group without leader by its number */
	CHECK(kill(-group, SIGTERM) == 0);
	SAME(child_reap(shared[ORPHAN_GROUP]), 0);
	CHECK(kill(-session, SIGTERM) == 0);
	SAME(child_reap(shared[ORPHAN_SESSION]), 0);
	child_end(lead);
	child_end(join);
	child_end(sub);
	pass();
}
