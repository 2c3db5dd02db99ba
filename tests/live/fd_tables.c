/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fd_tables: forty processes with ninety descriptors each which no other one has, far more than a
 * process may have open; at numbers with gaps, every third one close-on-exec. test_subjects.py also
 * restores it under a low limit of open files.
 */
#include "descriptors.h"

enum { TABLES = 40, EACH = 90, FIRST = 10, MOST = 700 };

static struct fd_note notes[EACH];

static int number_of(int i)
{
	return FIRST + i + i / 7;
}

static void fill_table(void)
{
	for (int i = 0; i < EACH; i++) {
		int fd = open("/dev/zero", O_RDONLY), to = number_of(i);

		NEED(fd >= 0 && dup3(fd, to, i % 3 ? 0 : O_CLOEXEC) == to);
		if (fd != to)
			NEED(close(fd) == 0);
		fd_note(&notes[i], to);
	}
}

static void check_table(void)
{
	for (int i = 0; i < EACH; i++) {
		fd_check(&notes[i], number_of(i), true);
		SAME(fcntl(number_of(i), F_GETFD), i % 3 ? 0 : FD_CLOEXEC);
	}
	SAME(fcntl(number_of(EACH), F_GETFD), -1);
	SAME(fcntl(number_of(6) + 1, F_GETFD), -1);
}

static void kid(void *arg)
{
	(void)arg;
	fill_table();
	child_up();
	wait_term();
	check_table();
}

int main(int argc, char **argv)
{
	pid_t kids[TABLES];

	subject_init(argc, argv);
	NEED(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ MOST, MOST }) == 0);
	for (int i = 0; i < TABLES; i++)
		kids[i] = child(kid, NULL);
	fill_table();
	ready();
	wait_term();
	check_table();
	for (int i = 0; i < TABLES; i++)
		child_end(kids[i]);
	pass();
}
