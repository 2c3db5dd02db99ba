/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * files10000: 10,000 open descriptors (or as many as argv[2] says): different files, one file many
 * times, pipes, copies of each other.
 */
#include "descriptors.h"

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 10000, fd, p[2];
	struct rlimit l;
	char name[32];

	subject_init(argc, argv);
	NEED(getrlimit(RLIMIT_NOFILE, &l) == 0);
	if (l.rlim_max < (rlim_t)n + 20)
		skip("the limit of open files is %lu", (unsigned long)l.rlim_max);
	l.rlim_cur = l.rlim_max;
	NEED(setrlimit(RLIMIT_NOFILE, &l) == 0);
	NEED(mkdir("many", 0755) == 0);
	for (int i = 3; i < n; i++) {
		snprintf(name, sizeof(name), "many/%d", i % 10 == 1 ? 0 : i);
		if (i % 10 == 2) {
			fd = dup(i - 1);
		} else if (i % 10 == 3 && i + 1 < n) {
			NEED(pipe(p) == 0);
			fd = p[0];
			NEED(p[0] == i && p[1] == i + 1);
			NEED(write(p[1], &i, sizeof(i)) == sizeof(i));
			i++;
			continue;
		} else {
			fd = open(name, O_RDWR | O_CREAT, 0600);
			NEED(lseek(fd, i, SEEK_SET) == i);
		}
		NEED(fd == i);
	}
	ready();
	wait_term();
	for (int i = 3; i < n; i++) {
		if (i % 10 == 2) {
			CHECK(i - 1 < 3 || fd_is_same(getpid(), i, getpid(), i - 1));
		} else if (i % 10 == 3 && i + 1 < n) {
			SAME(read(i, &fd, sizeof(fd)), sizeof(fd));
			SAME(fd, i);
			i++;
		} else if (lseek(i, 0, SEEK_CUR) != i) {
			fail("offset of descriptor %d is %ld", i, (long)lseek(i, 0, SEEK_CUR));
		}
	}
	SAME(fd_count(), n);
	pass();
}
