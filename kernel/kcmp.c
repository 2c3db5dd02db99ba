/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kcmp(2): see kernel/kcmp.h. */
#include "kernel/kcmp.h"
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

int kcmp_objects(pid_t pid1, pid_t pid2, enum kcmp_type type, unsigned long idx1, unsigned long idx2)
{
	long r = syscall(SYS_kcmp, pid1, pid2, (int)type, idx1, idx2);

	return r < 0 ? -errno : (int)r;
}

int kcmp_epoll(pid_t pid1, int fd, pid_t pid2, uint32_t efd, uint32_t tfd, uint32_t nth)
{
	struct kcmp_epoll_slot slot = { .efd = efd, .tfd = tfd, .toff = nth };
	long r = syscall(SYS_kcmp, pid1, pid2, KCMP_EPOLL_TFD, (unsigned long)fd, &slot);

	return r < 0 ? -errno : (int)r;
}
