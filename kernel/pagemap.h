/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /proc/PID/pagemap: which pages of an address space are there and what they are
 * (Documentation/admin-guide/mm/pagemap.rst).
 *
 * Two ways to ask: ioctl PAGEMAP_SCAN (since 6.7) tells ranges and skips holes of terabytes at no
 * cost; reading gives 64 bits a page. The scanner uses the first where there is one, else the second.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Categories, the values of PAGE_IS_* in include/uapi/linux/fs.h. */
enum page_is {
	PAGE_WRITTEN = 2, /* since page_scan_written() protected it; only told by that */
	PAGE_FILE = 4, /* page of a file or shared memory, not a private copy */
	PAGE_PRESENT = 8,
	PAGE_SWAPPED = 16, /* also markers: guard regions, write protection of absent pages */
	PAGE_PFNZERO = 32, /* the shared zero page; never told where there is no PAGEMAP_SCAN */
	PAGE_SOFT_DIRTY = 128, /* written since page_restart_soft_dirty(); only told by its scan */
	PAGE_GUARD = 256, /* MADV_GUARD_INSTALL, since 6.15 */
};

struct page_span {
	uint64_t start, end;
	unsigned is; /* PAGE_* */
};

struct page_scanner {
	int fd;
	bool can_scan, can_guard;
	uint64_t zero_frame; /* frame number of the zero page, 0 unknown; without can_scan only */
};

/* Called for each span in ascending order; a negative result ends the scan and is returned. */
typedef int page_span_each(const struct page_span *span, void *data, struct err *err);

int page_scanner_open(struct page_scanner *s, pid_t pid, struct err *err) must_use;
void page_scanner_close(struct page_scanner *s);
/* Spans of [start, end), page aligned, that are one of `want` (not PAGE_FILE, PAGE_PFNZERO). */
int page_scan(const struct page_scanner *s, unsigned want, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err) must_use;
/*
 * The same for private anonymous memory. PAGE_FILE, which no page of it is, is not asked for: to
 * tell it the kernel looks at every page's descriptor, and takes eight times as long.
 */
int page_scan_anon(const struct page_scanner *s, unsigned want, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err) must_use;

/*
 * Spans of [start, end) with pages that were written (or brought by the kernel) since they were
 * last protected and are there or swapped out. `protect`: the same call write-protects them again.
 * Every area of the range must be registered with a WP_ASYNC userfaultfd (kernel/userfault.h),
 * else -EPERM. Absent pages are left out on purpose: matching them would make page tables for
 * every hole.
 */
int page_scan_written(const struct page_scanner *s, bool protect, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err) must_use;
/*
 * Spans of [start, end) with pages that are there (or swapped out) and soft-dirty: written, or part
 * of a new area, since page_restart_soft_dirty(). Without PAGEMAP_SCAN pages that may be the zero
 * page are told, too: it can take the place of a page that was dropped, and is never soft-dirty.
 */
int page_scan_soft_dirty(const struct page_scanner *s, uint64_t start, uint64_t end,
	page_span_each *each, void *data, struct err *err) must_use;
/* Takes the soft-dirty bits of the whole address space away (clear_refs, proc(5)). */
int page_restart_soft_dirty(pid_t pid, struct err *err) must_use;

/*
 * Whether a page of a private area is mapped by this process alone (bit 56, since 4.2 of Linux).
 * Pages that are not must never be read by process_vm_readv(2): it pins pages, for which the
 * kernel first makes a private copy of a shared one (FAULT_FLAG_UNSHARE, mm/gup.c).
 */
static inline bool pagemap_is_exclusive(uint64_t bits)
{
	const uint64_t present = 1ull << 63, exclusive = 1ull << 56;

	return (bits & (present | exclusive)) == (present | exclusive);
}
/* The 64 bits of each of n pages from addr on. */
int page_bits(const struct page_scanner *s, uint64_t addr, size_t n, uint64_t *ret, struct err *err)
	must_use;
/*
 * Whether what seems to be swapped out is a mark in the page table without a page behind it (swap
 * type 31, PTE markers since 5.19). Only those with CAP_SYS_ADMIN are told; for others it is false.
 */
static inline bool pagemap_is_mark(uint64_t bits)
{
	const uint64_t present = 1ull << 63, swapped = 1ull << 62;

	return (bits & (present | swapped)) == swapped && (bits & 31) == 31;
}
