// SPDX-License-Identifier: GPL-2.0-or-later
/* What scans of a page map tell, compared with what was done to the pages. */
#include "kernel/pagemap.h"
#include "base/cleanup.h"
#include "kernel/features.h"
#include "kernel/userfault.h"
#include "tests/unit/tap.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, PAGES = 1 << 14 };

struct seen {
	uint64_t base, last;
	unsigned char told[PAGES]; /* how often */
	bool disorder;
};

static int note(const struct page_span *span, void *data, struct err *err)
{
	struct seen *s = data;

	s->disorder |= span->start < s->last || span->end <= span->start;
	s->last = span->end;
	for (uint64_t at = span->start; at < span->end; at += PAGE)
		s->told[(at - s->base) / PAGE]++;
	return 0;
}

/* Every page told exactly as often as it is in want. */
static bool is_told(const struct seen *s, const unsigned char *want)
{
	return !s->disorder && !memcmp(s->told, want, PAGES);
}

static char *new_area(void)
{
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		0);

	if (p == MAP_FAILED || madvise(p, PAGES * PAGE, MADV_NOHUGEPAGE) < 0)
		exit(1);
	return p;
}

/* Writes runs of pages with gaps between; about one in `gap` begins a run. */
static void write_some(char *p, unsigned char *want, unsigned seed, int gap)
{
	srand(seed);
	for (size_t i = 0; i < PAGES; i++)
		if (rand() % gap == 0 || (i && want[i - 1] == 1 && rand() % 2)) {
			p[i * PAGE]++;
			want[i] = 1;
		}
}

/* Scan results of every number of regions, also those above what the kernel gathers in one go. */
static bool present_are_told(int gap, unsigned seed)
{
	struct seen *seen = calloc(1, sizeof(*seen));
	unsigned char *want = calloc(PAGES, 1);
	struct err err = ERR_INIT;
	struct page_scanner s;
	char *p = new_area();
	uint64_t start = (uintptr_t)p;
	bool good;

	write_some(p, want, seed, gap);
	seen->base = start;
	good = page_scanner_open(&s, getpid(), &err) == 0 &&
		page_scan(&s, PAGE_PRESENT, start, start + PAGES * PAGE, note, seen, &err) == 0 &&
		is_told(seen, want);
	page_scanner_close(&s);
	munmap(p, PAGES * PAGE);
	free(seen);
	free(want);
	return good;
}

static bool scan_written(const struct page_scanner *s, char *p, bool protect, struct seen *seen)
{
	struct err err = ERR_INIT;
	uint64_t start = (uintptr_t)p;

	memset(seen, 0, sizeof(*seen));
	seen->base = start;
	return page_scan_written(s, protect, start, start + PAGES * PAGE, note, seen, &err) == 0;
}

static void test_written(struct tap *t)
{
	auto_close int fd = (int)syscall(SYS_userfaultfd, USERFAULT_FLAGS);
	struct seen *seen = calloc(1, sizeof(*seen));
	unsigned char *want = calloc(PAGES, 1), none[PAGES] = { 0 };
	struct err err = ERR_INIT;
	struct page_scanner s;
	char *p = new_area();
	uint64_t start = (uintptr_t)p;
	bool good;

	if (feature_probe(HAS_uffd_wp_async) < 0 || page_scanner_open(&s, getpid(), &err) < 0) {
		tap_ok(t, true, "write protection # SKIP not here", NULL);
		return;
	}
	write_some(p, want, 1, 3);
	good = page_scan_written(&s, true, start, start + PAGE, note, seen, &err) == -EPERM;
	tap_ok(t, good, "an area that is not registered is refused", &err);
	good = userfault_begin_tracking(fd, &err) == 0 &&
		userfault_track(fd, start, start + PAGES * PAGE) == 0;
	tap_ok(t, good && scan_written(&s, p, true, seen) && is_told(seen, want),
		"at first all present pages are written, holes are not", &err);
	tap_ok(t, scan_written(&s, p, true, seen) && is_told(seen, none), "then none is", &err);
	memset(want, 0, PAGES);
	write_some(p, want, 2, 40);
	tap_ok(t, scan_written(&s, p, false, seen) && is_told(seen, want), "new and old pages show", &err);
	tap_ok(t, scan_written(&s, p, true, seen) && is_told(seen, want), "until they are protected", &err);
	tap_ok(t, scan_written(&s, p, true, seen) && is_told(seen, none), "again", &err);
	page_scanner_close(&s);
	free(seen);
	free(want);
}

static void test_soft_dirty(struct tap *t)
{
	struct seen *seen = calloc(1, sizeof(*seen));
	unsigned char *want = calloc(PAGES, 1);
	struct err err = ERR_INIT;
	struct page_scanner s;
	char *p = new_area();
	uint64_t start = (uintptr_t)p;
	bool good;

	if (feature_probe(HAS_mem_dirty_track) < 0 || page_scanner_open(&s, getpid(), &err) < 0) {
		tap_ok(t, true, "soft-dirty bits # SKIP not here", NULL);
		return;
	}
	write_some(p, want, 1, 3);
	memset(want, 0, PAGES);
	good = page_restart_soft_dirty(getpid(), &err) == 0;
	write_some(p, want, 2, 40);
	seen->base = start;
	good = good &&
		page_scan_soft_dirty(&s, start, start + PAGES * PAGE, note, seen, &err) == 0;
	tap_ok(t, good && is_told(seen, want), "soft-dirty pages are those that were written", &err);
	page_scanner_close(&s);
	free(seen);
	free(want);
}

int main(void)
{
	struct tap t = { 0 };

	for (int gap = 2; gap <= 64; gap *= 2)
		for (unsigned seed = 1; seed <= 4; seed++)
			tap_ok(&t, present_are_told(gap, seed), "present pages are told once", NULL);
	test_written(&t);
	test_soft_dirty(&t);
	return tap_done(&t);
}
