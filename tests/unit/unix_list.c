/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of unix sockets, where one is missing from it: here it is newer than the list. */
#include "kinds/sock/unix.h"
#include "tests/unit/tap.h"
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct rig {
	struct world *world;
	struct task task;
	TaskKobjIdsEntry ids;
	struct table seen;
	uint32_t next_id;
};

static struct fd_look look_at(struct rig *r, int fd)
{
	struct fd_look l = { .world = r->world, .task = &r->task, .tid = getpid(), .fd = fd,
		.dup = fd, .next_id = &r->next_id, .seen = &r->seen };

	if (fstat(fd, &l.st) < 0)
		abort();
	return l;
}

/* -1: an error; else whether the socket was found. */
static int find(struct rig *r, struct unix_space *s, int fd, struct unix_seen **ret,
	struct err *err)
{
	struct fd_look l = look_at(r, fd);

	*ret = NULL;
	if (unix_seen_of(&l, s, (uint32_t)l.st.st_ino, ret, err) < 0)
		return -1;
	return *ret && (*ret)->d.ino == l.st.st_ino;
}

static void test_missing(struct tap *t, struct rig *r)
{
	struct err err = ERR_INIT;
	struct unix_space *s = NULL;
	struct unix_seen *a, *b, *again;
	struct fd_look l;
	int old[2], new[2];
	unsigned reads;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, old) < 0)
		abort();
	l = look_at(r, old[0]);
	tap_ok(t, unix_space_of(&l, &s, &err) == 0 && s->reads == 1, "the list is read", &err);
	if (!s)
		return;
	tap_ok(t, find(r, s, old[0], &a, &err) == 1 && find(r, s, old[1], &b, &err) == 1 &&
		s->reads == 1, "what is in it needs no other", &err);
	tap_ok(t, a && b && a->clients == b && b->clients == a && !a->next_client, "a pair", NULL);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, new) < 0)
		abort();
	tap_ok(t, find(r, s, new[0], &a, &err) == 1 && s->reads == 2,
		"what is missing is found", &err);
	tap_ok(t, find(r, s, new[1], &b, &err) == 1 && s->reads == 2 && a && b && a->clients == b &&
		b->clients == a, "with its partner", &err);
	tap_ok(t, find(r, s, old[0], &again, &err) == 1 && again->clients &&
		!again->clients->next_client, "what was known is there once", &err);
	l = look_at(r, old[0]);
	a = b;
	tap_ok(t, unix_seen_of(&l, s, 1, &a, &err) == 0 && !a,
		"what is nowhere is not found", &err);
	reads = s->reads;
	tap_ok(t, unix_seen_of(&l, s, 1, &a, &err) == 0 && !a && s->reads == reads && reads < 20,
		"and not looked for without end", &err);
	for (int i = 0; i < 2; i++) {
		close(old[i]);
		close(new[i]);
	}
}

int main(void)
{
	struct rig r = { .world = world_new(), .ids = TASK_KOBJ_IDS_ENTRY__INIT };
	struct tap t = { 0 };

	/* where nobody else has sockets, a list has all of them */
	if (unshare(CLONE_NEWNET) < 0) {
		puts("ok 1 # SKIP no network namespace of its own\n1..1");
		return 0;
	}
	r.task = (struct task){ .pid = getpid(), .real = getpid(), .ids = &r.ids };
	test_missing(&t, &r);
	table_done(&r.seen);
	world_free(r.world);
	return tap_done(&t);
}
