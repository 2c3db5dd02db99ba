/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_cow: 24 MiB of private memory filled before three generations of forks: pages nobody wrote
 * since stay shared, those written differ. The total memory (sum of Pss) after a restore must not
 * be above what it was, give or take a few pages.
 */
#include "subject.h"

#define PAGE 4096ul
enum { PAGES = 6144, KIDS = 4, SLACK_KB = 4096 };

static uint8_t *shared;
static volatile pid_t *pids; /* told to the root */

/* Every 16th page from `first` on gets contents of its own. */
static void scribble(int first)
{
	for (int i = first; i < PAGES; i += 16)
		fill(shared + i * PAGE, PAGE, i + 100000 * first);
}

/* `written`: bit n says that pages n, n + 16 ... were scribbled. */
static void verify(unsigned written)
{
	for (int i = 0; i < PAGES; i++) {
		int own = i % 16;

		if (!holds(shared + i * PAGE, PAGE,
			    written >> own & 1 ? (uint64_t)(i + 100000 * own) : (uint64_t)i))
			fail("page %d of %d is wrong", i, getpid());
	}
}

static void grandkid(void *arg)
{
	(void)arg;
	scribble(9);
	child_up();
	wait_term();
	verify(1 << 9 | 1 << 1 | 1 << 2);
}

static void kid(void *arg)
{
	int n = (intptr_t)arg;
	pid_t below = 0;

	scribble(n);
	if (n == 1) {
		scribble(2);
		below = child(grandkid, NULL);
		pids[KIDS] = below;
		scribble(10);
	}
	child_up();
	wait_term();
	verify(n == 1 ? 1 << 1 | 1 << 2 | 1 << 10 : 1u << n);
	if (below)
		child_end(below);
}

static long pss_kb(void)
{
	char path[64];
	long sum = key_value("/proc/self/smaps_rollup", "Pss");

	for (int i = 0; i <= KIDS; i++) {
		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pids[i]);
		sum += key_value(path, "Pss");
	}
	return sum;
}

int main(int argc, char **argv)
{
	long before, after;

	subject_init(argc, argv);
	pids = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	shared = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	NEED(madvise(shared, PAGES * PAGE, MADV_NOHUGEPAGE) == 0);
	for (int i = 0; i < PAGES; i++)
		fill(shared + i * PAGE, PAGE, i);
	for (intptr_t i = 0; i < KIDS; i++)
		pids[i] = child(kid, (void *)i);
	scribble(12);
	before = pss_kb();
	NEED(before > PAGES * 4 && before < PAGES * 4 * 3);
	ready();
	wait_term();
	after = pss_kb();
	if (after > before + SLACK_KB)
		fail("all tasks together take %ld kB of memory, it was %ld", after, before);
	verify(1 << 12);
	for (int i = 0; i < KIDS; i++)
		child_end(pids[i]);
	pass();
}
