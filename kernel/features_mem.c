/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probes of what can be seen of and done to memory. */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/features_priv.h"
#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* linux/fs.h of 6.7 */
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
		category_mask, category_anyof_mask, return_mask;
};
struct page_region {
	uint64_t start, end, categories;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)

enum { PAGE = 4096, CATEGORY_PRESENT = 8, CATEGORY_GUARD = 256, GUARD_INSTALL = 102 };

/* Documentation/admin-guide/mm/pagemap.rst */
#define BIT_PRESENT (1ull << 63)
#define BIT_EXCLUSIVE (1ull << 56)
#define BIT_SOFT_DIRTY (1ull << 55)

/* Two pages, the first of them written. */
static char *new_pages(void)
{
	char *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	at[0] = 1;
	return at;
}

static int read_pagemap(const void *at, uint64_t *ret)
{
	auto_close int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return io_pread_all(fd, ret, sizeof(*ret), (off_t)((uintptr_t)at / PAGE * sizeof(*ret)));
}

int probe_pagemap(void)
{
	char *at = new_pages();
	uint64_t first, second;

	if (!at)
		return -errno;
	if (read_pagemap(at, &first) < 0 || read_pagemap(at + PAGE, &second) < 0)
		return -EACCES;
	return first & BIT_PRESENT && !(second & BIT_PRESENT) ? 0 : -ENOTSUP;
}

int probe_exclusive_pages(void)
{
	char *at = new_pages();
	uint64_t bits;
	int r;

	if (!at)
		return -errno;
	r = read_pagemap(at, &bits);
	return r < 0 ? r : bits & BIT_EXCLUSIVE ? 0 : -ENOTSUP;
}

/* clear_refs takes the request also where nothing is tracked: only a test write tells. */
int probe_mem_dirty_track(void)
{
	volatile char *at = new_pages();
	uint64_t before, after;
	int r;

	if (!at)
		return -errno;
	r = io_put("/proc/self/clear_refs", "4");
	if (r == 0)
		r = read_pagemap((const char *)at, &before);
	if (r < 0)
		return r;
	at[0] = 2;
	r = read_pagemap((const char *)at, &after);
	if (r < 0)
		return r;
	return !(before & BIT_SOFT_DIRTY) && after & BIT_SOFT_DIRTY ? 0 : -ENOTSUP;
}

/* 1 if the scan of the first page finds the category. */
static int scan_finds(const char *at, uint64_t category)
{
	auto_close int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	struct page_region region = { 0 };
	struct pm_scan_arg arg = { .size = sizeof(arg), .start = (uintptr_t)at,
		.end = (uintptr_t)at + PAGE, .vec = (uintptr_t)&region, .vec_len = 1,
		.category_mask = category, .return_mask = category };
	int n;

	if (fd < 0)
		return -errno;
	n = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (n < 0)
		return -errno;
	return n == 1 && region.categories & category;
}

int probe_pagemap_scan(void)
{
	char *at = new_pages();
	int r = at ? scan_finds(at, CATEGORY_PRESENT) : -errno;

	return r == 0 ? -ENOTSUP : r < 0 ? r : 0;
}

int probe_pagemap_scan_guard_pages(void)
{
	char *at = new_pages();
	int r;

	if (!at || madvise(at, PAGE, GUARD_INSTALL) < 0)
		return -errno;
	r = scan_finds(at, CATEGORY_GUARD);
	return r == 0 ? -ENOTSUP : r < 0 ? r : 0;
}

int probe_process_vm(void)
{
	char from = 'x', to = 0;
	struct iovec local = { &to, 1 }, remote = { &from, 1 };

	if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != 1)
		return -errno;
	return probe_result(process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
}

/* Opens the file that is mapped there by its address. */
int probe_map_files(void)
{
	auto_close int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char path[64], *at;

	if (fd < 0)
		return -errno;
	at = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (unsigned long)at,
		(unsigned long)at + PAGE);
	return probe_result(open(path, O_RDONLY | O_CLOEXEC));
}

int probe_memfd(void)
{
	return probe_result(memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
}

int probe_memfd_hugetlb(void)
{
	return probe_result(memfd_create("probe", MFD_CLOEXEC | MFD_HUGETLB));
}

/* Length of the area that begins at that address, or 0. */
static size_t area_length(unsigned long at)
{
	auto_free char *text = NULL;
	char start[32], *line;
	unsigned long from, to;

	if (io_slurp("/proc/self/maps", &text, NULL) < 0)
		return 0;
	snprintf(start, sizeof(start), "%08lx-", at);
	line = strstr(text, start);
	if (!line || sscanf(line, "%lx-%lx", &from, &to) != 2)
		return 0;
	return to - from;
}

/* Moves the area to a place that is free. */
static void *move_area(unsigned long at, size_t len)
{
	void *place = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (place == MAP_FAILED)
		return place;
	return mremap((void *)at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, place);
}

int probe_special_mremap(void)
{
	unsigned long at = getauxval(AT_SYSINFO_EHDR);
	size_t len = area_length(at);

	if (!len)
		return -ENOENT;
	return move_area(at, len) == MAP_FAILED ? -errno : 0;
}

/* The ring has moved when the kernel knows it by its new address. */
int probe_aio_remap(void)
{
	aio_context_t ring = 0;
	void *moved;
	size_t len;

	if (syscall(SYS_io_setup, 1, &ring) < 0)
		return -errno;
	len = area_length(ring);
	moved = len ? move_area(ring, len) : MAP_FAILED;
	if (moved == MAP_FAILED)
		return -ENOTSUP;
	return probe_result(syscall(SYS_io_getevents, moved, 0, 0, NULL, NULL));
}

/* EEXIST: there is a vdso already, so the request is known. */
static int map_vdso(int request)
{
	enum { PLACE = 0x10000000 };

	if (syscall(SYS_arch_prctl, request, PLACE) >= 0 || errno == EEXIST)
		return 0;
	return -errno;
}

int probe_can_map_vdso(void)
{
	return map_vdso(ARCH_MAP_VDSO_64);
}

int probe_compat_cr(void)
{
	return map_vdso(ARCH_MAP_VDSO_32);
}

static int userfault_api(uint64_t features)
{
	auto_close int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	if (fd < 0)
		return -errno;
	return probe_result(ioctl(fd, UFFDIO_API, &api));
}

int probe_uffd(void)
{
	return userfault_api(0);
}

int probe_uffd_noncoop(void)
{
	return userfault_api(UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
		UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP);
}

/* Fields 45 to 51 of stat: data, brk, arguments and environment (proc(5)). */
int probe_proc_stat(void)
{
	auto_free char *text = NULL;
	const char *p;
	int blanks = 0, r;

	r = io_slurp("/proc/self/stat", &text, NULL);
	if (r < 0)
		return r;
	for (p = strrchr(text, ')'); p && *p; p++)
		blanks += *p == ' ';
	return blanks >= 50 ? 0 : -ENOTSUP;
}
