// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/pagemap.h"
#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* As in include/uapi/linux/fs.h of 6.7, which older headers lack. */
struct scan_region {
	uint64_t start, end, categories;
};

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_IOCTL _IOWR('f', 16, struct scan_arg)

enum { SCAN_REGIONS = 1024, READ_PAGES = 8192, PAGE_SHIFT = 12 };

static long scan_call(int fd, struct scan_arg *a, unsigned want, bool guard)
{
	a->size = sizeof(*a);
	a->category_anyof_mask = guard ? want : want & ~(unsigned)PAGE_GUARD;
	a->return_mask = PAGE_PRESENT | PAGE_SWAPPED | PAGE_FILE | PAGE_PFNZERO |
		(guard ? PAGE_GUARD : 0);
	return ioctl(fd, SCAN_IOCTL, a);
}

int page_scanner_open(struct page_scanner *s, pid_t pid, struct err *err)
{
	struct scan_region region;
	struct scan_arg probe = { .start = 0, .end = 0, .vec = (uintptr_t)&region, .vec_len = 1 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0)
		return err_sys(err, "cannot open %s", path);
	s->can_guard = scan_call(s->fd, &probe, PAGE_GUARD, true) >= 0;
	s->can_scan = s->can_guard || scan_call(s->fd, &probe, PAGE_PRESENT, false) >= 0;
	return 0;
}

void page_scanner_close(struct page_scanner *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/*
 * The kernel collects regions in portions of its own (512 of them). When a later portion reaches the
 * end, walk_end still tells where the one before it stopped (do_pagemap_scan() in
 * fs/proc/task_mmu.c, seen in 6.18): what regions have been told is behind us whatever it says.
 */
static int scan_by_ioctl(const struct page_scanner *s, unsigned want, uint64_t start,
	uint64_t end, page_span_each *each, void *data, struct err *err)
{
	struct scan_region regions[SCAN_REGIONS];

	while (start < end) {
		struct scan_arg a = { .start = start, .end = end, .vec = (uintptr_t)regions,
			.vec_len = SCAN_REGIONS };
		long n = scan_call(s->fd, &a, want, s->can_guard);

		if (n < 0)
			return err_sys(err, "cannot scan the pages of 0x%lx-0x%lx", start, end);
		for (long i = 0; i < n; i++) {
			struct page_span span = { regions[i].start, regions[i].end,
				(unsigned)regions[i].categories };
			int rc = each(&span, data, err);

			if (rc < 0)
				return rc;
		}
		if (n > 0 && a.walk_end < regions[n - 1].end)
			a.walk_end = regions[n - 1].end;
		if (a.walk_end <= start)
			return err_set(err, ERR_KERNEL, EPROTO,
				"the scan of the pages at 0x%lx does not move on", start);
		start = a.walk_end;
	}
	return 0;
}

static unsigned is_of_bits(uint64_t bits)
{
	return (bits >> 63 & 1 ? PAGE_PRESENT : 0) | (bits >> 62 & 1 ? PAGE_SWAPPED : 0) |
		(bits >> 61 & 1 ? PAGE_FILE : 0) | (bits >> 58 & 1 ? PAGE_GUARD : 0);
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

static int scan_by_read(const struct page_scanner *s, unsigned want, uint64_t start,
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
			unsigned is = is_of_bits(bits[i]);

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
	return s->can_scan ? scan_by_ioctl(s, want, start, end, each, data, err) :
			     scan_by_read(s, want, start, end, each, data, err);
}

int page_bits(const struct page_scanner *s, uint64_t addr, size_t n, uint64_t *ret, struct err *err)
{
	int rc = io_pread_all(s->fd, ret, n * sizeof(*ret),
		(off_t)((addr >> PAGE_SHIFT) * sizeof(*ret)));

	return rc < 0 ? err_sysn(err, -rc, "cannot read the page map at 0x%lx", addr) : 0;
}
