/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_objects: more shared anonymous mappings than a program may usually have files open (the soft
 * limit of 1024): each is a memory object of its own, shared with a child.
 */
#include "subject.h"

enum { COUNT = 1100, LEN = 4096 };

static volatile uint32_t *object[COUNT];

static void looker(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	for (int i = 0; i < COUNT; i++) {
		SAME(object[i][0], i * 7 + 1);
		object[i][1] = i;
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	pid_t kid;
	int status;

	subject_init(argc, argv);
	for (int i = 0; i < COUNT; i++) {
		object[i] =
			mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		NEED(object[i] != MAP_FAILED);
		object[i][0] = i * 7 + 1;
	}
	kid = child(looker, NULL);
	ready();
	wait_term();
	CHECK(kill(kid, SIGTERM) == 0);
	CHECK(waitpid(kid, &status, 0) == kid && status == 0);
	for (int i = 0; i < COUNT; i++)
		SAME(object[i][1], i);
	pass();
}
