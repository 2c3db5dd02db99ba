// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/pagemap.h"
#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* As in include/uapi/linux/fs.h of 6.7, which older headers lack. */
struct scan_region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define FRAME_BITS ((1ull << 55) - 1) /* of an entry of the page map, if the page is present */
#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)

enum { SCAN_WP_MATCHING = 1, SCAN_CHECK_WPASYNC = 2 }; /* PM_SCAN_* */
enum { SCAN_REGIONS = 1024, READ_PAGES = 8192, PAGE_SHIFT = 12 };

/* A kernel that does not know PAGE_GUARD refuses to be asked for it. */
static struct scan_arg scan_for(unsigned want, bool guard)
{
	return (struct scan_arg){
		.category_anyof_mask = guard ? want : want & ~(unsigned)PAGE_GUARD,
		.return_mask = PAGE_PRESENT | PAGE_SWAPPED | PAGE_FILE | PAGE_PFNZERO |
			(guard ? PAGE_GUARD : 0),
	};
}

static bool scan_works(int fd, unsigned want, bool guard)
{
	struct scan_region region;
	struct scan_arg probe = scan_for(want, guard);

	probe.size = sizeof(probe);
	probe.vec = (uintptr_t)&region;
	probe.vec_len = 1;
	return ioctl(fd, SCAN_IOCTL, &probe) >= 0;
}

/* Only shown to those with CAP_SYS_ADMIN. */
static uint64_t find_zero_frame(void)
{
	const size_t len = 1ul << PAGE_SHIFT;
	auto_close int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	volatile char *page = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t bits = 0;

	if (page == MAP_FAILED)
		return 0;
	if (fd < 0 || page[0] != 0 ||
		io_pread_all(fd, &bits, sizeof(bits), (off_t)((uintptr_t)page / len * 8)) < 0)
		bits = 0;
	munmap((void *)(uintptr_t)page, len);
	return bits & FRAME_BITS;
}

int page_scanner_open(struct page_scanner *s, pid_t pid, struct err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0)
		return err_sys(err, "cannot open %s", path);
	s->can_guard = scan_works(s->fd, PAGE_GUARD, true);
	s->can_scan = s->can_guard || scan_works(s->fd, PAGE_PRESENT, false);
	s->zero_frame = s->can_scan ? 0 : find_zero_frame();
	return 0;
}

void page_scanner_close(struct page_scanner *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/*
 * Repeats the scan that `how` describes until [start, end) is done. The kernel collects regions in
 * portions of its own (512 of them). When a later portion reaches the end, walk_end still tells
 * where the one before it stopped (do_pagemap_scan() in fs/proc/task_mmu.c, seen in 6.18): what
 * regions have been told is behind us whatever it says.
 */
static int scan_by_ioctl(const struct page_scanner *s, const struct scan_arg *how, uint64_t start,
	uint64_t end, page_span_each *each, void *data, struct err *err)
{
	struct scan_region regions[SCAN_REGIONS];

	while (start < end) {
		struct scan_arg a = *how;
		long n;

		a.size = sizeof(a);
		a.start = start;
		a.end = end;
		a.vec = (uintptr_t)regions;
		a.vec_len = SCAN_REGIONS;
		n = ioctl(s->fd, SCAN_IOCTL, &a);
		if (n < 0)
			return err_sys(err, "cannot scan the pages of 0x%lx-0x%lx", start, end);
		for (long i = 0; i < n; i++) {
			struct page_span span = { regions[i].start, regions[i].end,
				(unsigned)regions[i].categories };
			int rc = each(&span, data, err);

			if (rc < 0)
				return rc;
		}
		if (n && regions[n - 1].end > a.walk_end)
			a.walk_end = regions[n - 1].end;
		if (a.walk_end <= start)
			return err_set(err, ERR_KERNEL, EPROTO,
				"the scan of the pages at 0x%lx does not move on", start);
		start = a.walk_end;
	}
	return 0;
}

/* The huge zero page counts as a page of a file; where frames are hidden, the zero page is known
 * to be nobody's own. */
static bool may_be_zero_page(const struct page_scanner *s, uint64_t bits)
{
	uint64_t frame = bits & FRAME_BITS;

	if (!(bits >> 63 & 1))
		return false;
	return bits >> 61 & 1 || (frame ? frame == s->zero_frame : !pagemap_is_exclusive(bits));
}

static unsigned is_of_bits(const struct page_scanner *s, uint64_t bits)
{
	bool soft_dirty = bits >> 55 & 1 || may_be_zero_page(s, bits);

	return (bits >> 63 & 1 ? PAGE_PRESENT : 0) | (bits >> 62 & 1 ? PAGE_SWAPPED : 0) |
		(bits >> 61 & 1 ? PAGE_FILE : 0) | (bits >> 58 & 1 ? PAGE_GUARD : 0) |
		(soft_dirty ? PAGE_SOFT_DIRTY : 0);
}

static int span_flush(struct page_span *span, unsigned want, page_span_each *each, void *data,
	struct err *err)
{
	int rc = 0;

	if (span->end > span->start && span->is & want)
		rc = each(span, data, err);
	span->start = span->end;
	return rc;
}

/* Spans that are one of `want` are told, with what they are of `say`. */
static int scan_by_read(const struct page_scanner *s, unsigned want, unsigned say, uint64_t start,
	uint64_t end, page_span_each *each, void *data, struct err *err)
{
	auto_free uint64_t *bits = calloc(READ_PAGES, sizeof(*bits));
	struct page_span span = { start, start, 0 };
	int rc = 0;

	if (!bits)
		return err_nomem(err);
	while (start < end && rc >= 0) {
		size_t n = (end - start) >> PAGE_SHIFT;

		n = n < READ_PAGES ? n : READ_PAGES;
		rc = page_bits(s, start, n, bits, err);
		for (size_t i = 0; i < n && rc >= 0; i++) {
			unsigned is = is_of_bits(s, bits[i]) & say;

			if (is != span.is)
				rc = span_flush(&span, want, each, data, err);
			span.is = is;
			span.end = start + ((i + 1) << PAGE_SHIFT);
		}
		start += n << PAGE_SHIFT;
	}
	return rc < 0 ? rc : span_flush(&span, want, each, data, err);
}

int page_scan(const struct page_scanner *s, unsigned want, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err)
{
	const unsigned say = PAGE_PRESENT | PAGE_SWAPPED | PAGE_FILE | PAGE_GUARD;
	struct scan_arg how = scan_for(want, s->can_guard);

	return s->can_scan ? scan_by_ioctl(s, &how, start, end, each, data, err) :
			     scan_by_read(s, want, say, start, end, each, data, err);
}

int page_scan_anon(const struct page_scanner *s, unsigned want, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err)
{
	struct scan_arg how = scan_for(want, s->can_guard);

	how.return_mask &= ~(uint64_t)PAGE_FILE;
	return s->can_scan ? scan_by_ioctl(s, &how, start, end, each, data, err) :
			     page_scan(s, want, start, end, each, data, err);
}

int page_scan_written(const struct page_scanner *s, bool protect, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err)
{
	struct scan_arg how = {
		.flags = SCAN_CHECK_WPASYNC | (protect ? SCAN_WP_MATCHING : 0),
		.category_mask = PAGE_WRITTEN,
		.category_anyof_mask = PAGE_PRESENT | PAGE_SWAPPED,
		.return_mask = PAGE_WRITTEN,
	};

	return scan_by_ioctl(s, &how, start, end, each, data, err);
}

int page_scan_soft_dirty(const struct page_scanner *s, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err)
{
	struct scan_arg how = {
		.category_mask = PAGE_SOFT_DIRTY,
		.category_anyof_mask = PAGE_PRESENT | PAGE_SWAPPED,
		.return_mask = PAGE_SOFT_DIRTY,
	};

	return s->can_scan ? scan_by_ioctl(s, &how, start, end, each, data, err) :
			     scan_by_read(s, PAGE_SOFT_DIRTY, PAGE_SOFT_DIRTY, start, end, each,
				     data, err);
}

int page_restart_soft_dirty(pid_t pid, struct err *err)
{
	char path[64];
	int rc;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
	rc = io_put(path, "4");
	return rc < 0 ? err_sysn(err, -rc, "cannot restart the tracking of memory by %s", path) : 0;
}

int page_bits(const struct page_scanner *s, uint64_t addr, size_t n, uint64_t *ret, struct err *err)
{
	int rc = io_pread_all(s->fd, ret, n * sizeof(*ret),
		(off_t)((addr >> PAGE_SHIFT) * sizeof(*ret)));

	return rc < 0 ? err_sysn(err, -rc, "cannot read the page map at 0x%lx", addr) : 0;
}
