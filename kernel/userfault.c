// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/userfault.h"
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

/* Older headers lack it. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

int userfault_begin_tracking(int fd, struct err *err)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };

	if (ioctl(fd, UFFDIO_API, &api) < 0)
		return err_sys(err, "this kernel cannot track writes by userfaultfd");
	return 0;
}

int userfault_track(int fd, uint64_t start, uint64_t end)
{
	struct uffdio_register reg = { .range = { .start = start, .len = end - start },
		.mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;
}

/* Nothing is ever mapped at this address, so there is nothing to change. */
bool userfault_lives(int fd)
{
	struct uffdio_writeprotect wp = { .range = { .start = 4096, .len = 4096 } };

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp) == 0 || errno != ESRCH;
}
