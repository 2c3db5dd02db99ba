/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mlock_madvise: locked areas (at once and on fault), every advice that leaves a mark on the area,
 * and a child that shows DONTFORK and WIPEONFORK at work.
 */
#include "subject.h"

#define LEN (16 * 4096ul)

static const struct {
	int advice;
	const char *flag;
} advices[] = { { MADV_RANDOM, "rr" }, { MADV_SEQUENTIAL, "sr" }, { MADV_DONTFORK, "dc" },
	{ MADV_DONTDUMP, "dd" }, { MADV_HUGEPAGE, "hg" }, { MADV_NOHUGEPAGE, "nh" },
	{ MADV_WIPEONFORK, "wf" }, { MADV_MERGEABLE, "mg" }, { MADV_NORMAL, "" } };

enum { N = sizeof(advices) / sizeof(advices[0]) };

/* mmap flags that only show in VmFlags */
static const int modes[] = { MAP_LOCKED, MAP_NORESERVE };

static uint8_t *areas[N], *locked, *on_fault, *by_flag[2];
static char flags_of[N + 4][128];

static void flags_note(const void *p, char *buf)
{
	NEED(smaps_line(getpid(), p, "VmFlags", buf, 128));
}

static void flags_check(const void *p, const char *was)
{
	char is[128];

	flags_note(p, is);
	if (strcmp(is, was))
		fail("flags of an area are '%s', not '%s'", is, was);
}

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE, private = MAP_PRIVATE | MAP_ANONYMOUS;
	unsigned char there = 0;
	int status;
	pid_t pid;

	subject_init(argc, argv);
	for (int i = 0; i < N; i++) {
		areas[i] = map(LEN, rw, private);
		fill(areas[i], LEN, i);
		if (madvise(areas[i], LEN, advices[i].advice) < 0)
			NEED(errno == EINVAL); /* this kernel is built without it */
		flags_note(areas[i], flags_of[i]);
	}
	locked = map(LEN, rw, private);
	fill(locked, LEN, 100);
	NEED(mlock(locked, LEN) == 0);
	flags_note(locked, flags_of[N]);
	on_fault = map(LEN, rw, private);
	NEED(mlock2(on_fault, LEN, MLOCK_ONFAULT) == 0);
	fill(on_fault + 4096, 4096, 101);
	flags_note(on_fault, flags_of[N + 1]);
	for (int i = 0; i < 2; i++) {
		by_flag[i] = map(LEN, rw, private | modes[i]);
		flags_note(by_flag[i], flags_of[N + 2 + i]);
	}
	ready();
	wait_term();
	for (int i = 0; i < N; i++) {
		flags_check(areas[i], flags_of[i]);
		CHECK(holds(areas[i], LEN, i));
	}
	flags_check(locked, flags_of[N]);
	flags_check(on_fault, flags_of[N + 1]);
	CHECK(holds(locked, LEN, 100));
	for (int i = 0; i < 2; i++)
		flags_check(by_flag[i], flags_of[N + 2 + i]);
	CHECK(mincore(on_fault, 4096, &there) == 0 && !(there & 1));
	CHECK(holds(on_fault + 4096, 4096, 101));
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		_exit(msync(areas[2], LEN, MS_ASYNC) == 0 || !all_zero(areas[6], LEN));
	status = child_reap(pid);
	SAME(status, 0);
	pass();
}
