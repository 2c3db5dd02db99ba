/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guard: guard regions (MADV_GUARD_INSTALL, Linux 6.13) between pages with data. */
#include "subject.h"
#include <setjmp.h>

#define PAGE 4096ul
enum { PAGES = 64, GUARD_INSTALL = 102 };

static sigjmp_buf back;

static void on_segv(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)si, (void)uc;
	siglongjmp(back, 1);
}

static bool guarded(volatile uint8_t *p)
{
	if (sigsetjmp(back, 1))
		return true;
	(void)*p;
	return false;
}

int main(int argc, char **argv)
{
	uint8_t *p;

	subject_init(argc, argv);
	handle(SIGSEGV, on_segv, 0);
	p = map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	for (int i = 0; i < PAGES; i++)
		fill(p + i * PAGE, PAGE, i);
	for (int i = 0; i < PAGES; i += 8)
		if (madvise(p + i * PAGE, (i % 16 ? 1 : 3) * PAGE, GUARD_INSTALL) < 0)
			skip("no guard regions: %s (Linux 6.13 and later have them)", strerror(errno));
	ready();
	wait_term();
	for (int i = 0; i < PAGES; i++) {
		bool want = i % 16 < 3 || i % 16 == 8;

		if (guarded(p + i * PAGE) != want)
			fail("page %d is %sguarded", i, want ? "not " : "");
		if (!want)
			CHECK(holds(p + i * PAGE, PAGE, i));
	}
	pass();
}
