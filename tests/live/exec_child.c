/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exec_child: programs run by the children of a process that itself has its parent's memory (as the
 * commands of a pipeline are run by a subshell): nothing of that memory may come to them, whether
 * they are older or younger than their parent's other children.
 */
#include "subject.h"

enum { MAPS_MAX = 256 * 1024, LEAVES = 3, SYNC = 100 };

static char before[MAPS_MAX], after[MAPS_MAX];

/* Areas as /proc/self/maps tells, without the stack, which may grow. */
static void list_areas(char *buf)
{
	static char text[MAPS_MAX];
	char *rest = text, *line;

	slurp("/proc/self/maps", text, sizeof(text));
	*buf = 0;
	while ((line = strsep(&rest, "\n")))
		if (!strstr(line, "[stack]"))
			buf = stpcpy(stpcpy(buf, line), "\n");
}

/* The program: knows its areas from before. */
static void leaf(void)
{
	list_areas(before);
	list_areas(before); /* again, with everything touched */
	subject_sync = SYNC;
	child_up();
	wait_term();
	list_areas(after);
	if (strcmp(before, after))
		fail("areas of %d were %zu bytes of\n%.300s\nand are %zu bytes of\n%.300s", getpid(),
			strlen(before), before, strlen(after), after);
	_exit(0);
}

static void run_leaf(void *arg)
{
	char *argv[] = { "exec_child", subject_result, "leaf", NULL };

	(void)arg;
	NEED(dup2(subject_sync, SYNC) == SYNC);
	close(subject_sync);
	execv("/proc/self/exe", argv);
	fail("cannot run %s again: %s", argv[0], strerror(errno));
}

static void heir(void *arg)
{
	pid_t leaves[LEAVES];
	const char *memory = arg;

	for (int i = 0; i < LEAVES; i++)
		leaves[i] = child(run_leaf, NULL);
	child_up();
	wait_term();
	CHECK(holds(memory, 1 << 20, 5));
	for (int i = 0; i < LEAVES; i++)
		child_end(leaves[i]);
}

int main(int argc, char **argv)
{
	pid_t heirs[2];
	void *memory;

	subject_init(argc, argv);
	if (argc > 2)
		leaf();
	memory = map(1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	fill(memory, 1 << 20, 5);
	for (int i = 0; i < 2; i++)
		heirs[i] = child(heir, memory);
	ready();
	wait_term();
	for (int i = 0; i < 2; i++)
		child_end(heirs[i]);
	pass();
}
