// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/ptrace.h"
#include <elf.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	REQUEST_GET_RSEQ = 0x420f,
	REQUEST_GET_USER_DISPATCH = 0x4211,
};

/* The bare system call: libc's wrapper has an enum of requests it knows. */
static long request(unsigned long what, pid_t tid, uintptr_t addr, const void *data)
{
	long r = syscall(SYS_ptrace, what, tid, addr, data);

	return r < 0 ? -errno : r;
}

int ptrace_get_regs(pid_t tid, struct user_regs_struct *ret)
{
	struct iovec iov = { ret, sizeof(*ret) };
	int r = (int)request(PTRACE_GETREGSET, tid, NT_PRSTATUS, &iov);

	/* a 32-bit thread has a shorter set */
	return r == 0 && iov.iov_len != sizeof(*ret) ? -EOPNOTSUPP : r;
}

int ptrace_set_regs(pid_t tid, const struct user_regs_struct *regs)
{
	struct iovec iov = { (void *)regs, sizeof(*regs) };

	return (int)request(PTRACE_SETREGSET, tid, NT_PRSTATUS, &iov);
}

int ptrace_peek(pid_t tid, uint64_t at, uint64_t *ret)
{
	/* the system call, unlike glibc's function, stores the word where `data` points to */
	return (int)request(PTRACE_PEEKDATA, tid, at, ret);
}

int ptrace_get_xstate(pid_t tid, void *buf, size_t *len)
{
	struct iovec iov = { buf, *len };
	int r = (int)request(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &iov);

	if (r == 0)
		*len = iov.iov_len;
	return r;
}

int ptrace_set_xstate(pid_t tid, const void *buf, size_t len)
{
	struct iovec iov = { (void *)buf, len };

	return (int)request(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &iov);
}

int ptrace_get_sigmask(pid_t tid, uint64_t *ret)
{
	return (int)request(PTRACE_GETSIGMASK, tid, sizeof(*ret), ret);
}

int ptrace_set_sigmask(pid_t tid, uint64_t mask)
{
	return (int)request(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask);
}

int ptrace_peek_signals(pid_t tid, bool shared, uint64_t from, siginfo_t *buf, size_t n)
{
	struct ptrace_peeksiginfo_args args = {
		.off = from,
		.flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0,
		.nr = (int)n,
	};

	return (int)request(PTRACE_PEEKSIGINFO, tid, (uintptr_t)&args, buf);
}

int ptrace_get_rseq(pid_t tid, struct rseq_config *ret)
{
	long r = request(REQUEST_GET_RSEQ, tid, sizeof(*ret), ret);

	return r < 0 ? (int)r : 0;
}

int ptrace_get_user_dispatch(pid_t tid, struct user_dispatch *ret)
{
	long r = request(REQUEST_GET_USER_DISPATCH, tid, sizeof(*ret), ret);

	return r < 0 ? (int)r : 0;
}

int ptrace_seccomp_filter(pid_t tid, unsigned index, struct sock_filter *buf)
{
	return (int)request(PTRACE_SECCOMP_GET_FILTER, tid, index, buf);
}

int ptrace_seccomp_flags(pid_t tid, unsigned index, uint64_t *ret)
{
	struct seccomp_metadata meta = { .filter_off = index };
	long r = request(PTRACE_SECCOMP_GET_METADATA, tid, sizeof(meta), &meta);

	if (r < 0)
		return (int)r;
	*ret = meta.flags;
	return 0;
}
