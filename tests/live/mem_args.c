/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_args: command line, environment, auxiliary vector and the areas the kernel knows by number
 * stay as they were, also after the program has written to its command line.
 */
#include "subject.h"
#include <sys/auxv.h>

static const char *const files[] = { "cmdline", "environ", "auxv" };
static char before[3][1 << 17], after[1 << 17];
static size_t before_len[3];

/* Fields 26-28 and 45-51 of /proc/self/stat: code, stack, data, brk, arguments, environment. */
static void stat_fields(unsigned long long *out)
{
	static const int wanted[] = { 26, 27, 28, 45, 46, 47, 48, 49, 50, 51 };
	char buf[2048], *p;
	int field = 2, n = 0;

	slurp("/proc/self/stat", buf, sizeof(buf));
	p = strrchr(buf, ')') + 1;
	while (n < 10 && *p) {
		p += strspn(p, " ");
		field++;
		if (field == wanted[n])
			out[n++] = strtoull(p, NULL, 10);
		p += strcspn(p, " ");
	}
	NEED(n == 10);
}

int main(int argc, char **argv)
{
	unsigned long long was[10], is[10];
	char path[64];
	size_t len;

	subject_init(argc, argv);
	argv[0][0] = '#'; /* as daemons do to show what they are at */
	stat_fields(was);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		before_len[i] = slurp(path, before[i], sizeof(before[i]));
		NEED(before_len[i] > 0);
	}
	ready();
	wait_term();
	stat_fields(is);
	for (int i = 0; i < 10; i++)
		if (is[i] != was[i])
			fail("field %d of the areas in /proc/self/stat is %llx, not %llx", i, is[i],
				was[i]);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		len = slurp(path, after, sizeof(after));
		if (len != before_len[i] || memcmp(before[i], after, len))
			fail("/proc/self/%s has changed (%zu bytes, were %zu)", files[i], len,
				before_len[i]);
	}
	CHECK(getauxval(AT_PAGESZ) == 4096 && getauxval(AT_EXECFN));
	pass();
}
