// SPDX-License-Identifier: GPL-2.0-or-later
/* Probe of write tracking by userfaultfd: what is promised is seen to happen. */
#include "base/cleanup.h"
#include "kernel/features_priv.h"
#include "kernel/pagemap.h"
#include "kernel/userfault.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int count_span(const struct page_span *span, void *data, struct err *err)
{
	*(unsigned *)data += (unsigned)(span->end - span->start) / 4096;
	return 0;
}

/* Written pages of two; they are protected again. -1: cannot be told. */
static int count_written(const struct page_scanner *s, const char *at)
{
	struct err ignored = ERR_INIT;
	uint64_t start = (uintptr_t)at;
	unsigned n = 0;

	return page_scan_written(s, true, start, start + 8192, count_span, &n, &ignored) < 0 ? -1 :
											       (int)n;
}

/* Two pages are there; after they were protected one is written: by the kernel, which counts, too. */
int probe_uffd_wp_async(void)
{
	auto_close int fd = (int)syscall(SYS_userfaultfd, USERFAULT_FLAGS);
	char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct page_scanner scanner;
	struct err ignored = ERR_INIT;
	int p[2], r = -ENOTSUP;

	if (fd < 0 || at == MAP_FAILED || pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	at[0] = at[4096] = 1;
	if (page_scanner_open(&scanner, getpid(), &ignored) < 0)
		return -EACCES;
	if (userfault_begin_tracking(fd, &ignored) < 0)
		r = -ignored.number;
	else if (userfault_track(fd, (uintptr_t)at, (uintptr_t)at + 8192) == 0 &&
		count_written(&scanner, at) == 2 && count_written(&scanner, at) == 0 &&
		write(p[1], "x", 1) == 1 && read(p[0], at, 1) == 1 &&
		count_written(&scanner, at) == 1)
		r = 0;
	page_scanner_close(&scanner);
	return r;
}
