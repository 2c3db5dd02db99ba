// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/thread_calls.h"
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WHO_PROCESS = 1 };

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

int thread_get_sched(pid_t tid, struct sched_attrs *ret)
{
	*ret = (struct sched_attrs){ .size = sizeof(*ret) };
	return result(syscall(SYS_sched_getattr, tid, ret, sizeof(*ret), 0));
}

int thread_set_sched(pid_t tid, const struct sched_attrs *a)
{
	return result(syscall(SYS_sched_setattr, tid, a, 0));
}

int thread_get_ioprio(pid_t tid, uint32_t *ret)
{
	int r = result(syscall(SYS_ioprio_get, WHO_PROCESS, tid));

	if (r < 0)
		return r;
	*ret = (uint32_t)r;
	return 0;
}

int thread_set_ioprio(pid_t tid, uint32_t ioprio)
{
	return result(syscall(SYS_ioprio_set, WHO_PROCESS, tid, ioprio));
}

int thread_get_robust_list(pid_t tid, uint64_t *ret_head, uint64_t *ret_len)
{
	return result(syscall(SYS_get_robust_list, tid, ret_head, ret_len));
}

int thread_get_affinity(pid_t tid, void *mask, size_t room)
{
	return result(syscall(SYS_sched_getaffinity, tid, room, mask));
}

int thread_set_affinity(pid_t tid, const void *mask, size_t len)
{
	return result(syscall(SYS_sched_setaffinity, tid, len, mask));
}

int thread_queue_signal(pid_t tgid, pid_t tid, int signo, const void *info)
{
	if (tid)
		return result(syscall(SYS_rt_tgsigqueueinfo, tgid, tid, signo, info));
	return result(syscall(SYS_rt_sigqueueinfo, tgid, signo, info));
}
