/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_shared: anonymous shared memory between tasks: mapped at two addresses, in part only, with
 * other protections, by a child and a grandchild whose parent gave it up; writes are seen by all.
 */
#include "subject.h"

#define PAGE 4096ul
enum { PAGES = 64 };

static uint8_t *a, *b, *c;

static void kid(void *arg)
{
	(void)arg;
	NEED(munmap(a, 32 * PAGE) == 0); /* keeps the second half */
	NEED(mprotect(b, PAGES * PAGE, PROT_READ) == 0);
	child_up();
	wait_term();
	CHECK(holds(a + 32 * PAGE, PAGE, 999)); /* the root has written it just now */
	CHECK(holds(b, PAGES * PAGE, 2));
	fill(a + 40 * PAGE, PAGE, 555);
}

static void grandkid(void *arg)
{
	child_up();
	wait_term();
	CHECK(holds(c, PAGES * PAGE, 3));
	fill(c, PAGE, 33);
	(void)arg;
}

static void middle(void *arg)
{
	pid_t pid;

	(void)arg;
	pid = child(grandkid, NULL);
	NEED(munmap(c, PAGES * PAGE) == 0);
	child_up();
	wait_term();
	child_end(pid);
}

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE, shared = MAP_SHARED | MAP_ANONYMOUS;
	uint8_t *twice, *empty;
	pid_t x, y;

	subject_init(argc, argv);
	a = map(PAGES * PAGE, rw, shared);
	b = map(PAGES * PAGE, rw, shared);
	c = map(PAGES * PAGE, rw, shared);
	empty = map(1 << 30, rw, shared);
	fill(a, 48 * PAGE, 1); /* the rest has no pages */
	fill(b, PAGES * PAGE, 2);
	fill(c, PAGES * PAGE, 3);
	empty[1 << 29] = 77;
	twice = mremap(a, 0, PAGES * PAGE, MREMAP_MAYMOVE); /* the same memory a second time */
	NEED(twice != MAP_FAILED && holds(twice, PAGE, 1) == holds(a, PAGE, 1));
	x = child(kid, NULL);
	y = child(middle, NULL);
	ready();
	wait_term();
	CHECK(holds(a, 48 * PAGE, 1));
	CHECK(all_zero(a + 48 * PAGE, 16 * PAGE));
	CHECK(holds(twice, 48 * PAGE, 1));
	CHECK(empty[1 << 29] == 77 && empty[0] == 0 && empty[(1 << 30) - 1] == 0);
	a[0] = 99;
	SAME(twice[0], 99);
	fill(a + 32 * PAGE, PAGE, 999);
	child_end(x);
	CHECK(holds(twice + 40 * PAGE, PAGE, 555));
	child_end(y);
	CHECK(holds(c, PAGE, 33));
	pass();
}
