/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Typed ptrace(2) requests on a stopped thread, for what the rooms read and write. All return
 * -errno and set no error object: the caller knows what it means. Starting, stopping and letting
 * go belong to inject/.
 */
#pragma once
#include "base/err.h"
#include <linux/filter.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* linux/ptrace.h: struct ptrace_rseq_configuration; size 0: not registered (since 5.13). */
struct rseq_config {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};

/* struct ptrace_sud_config (since 6.4). */
struct user_dispatch {
	uint64_t mode, selector, offset, len;
};

int ptrace_get_regs(pid_t tid, struct user_regs_struct *ret) must_use;
int ptrace_set_regs(pid_t tid, const struct user_regs_struct *regs) must_use;
/* Eight bytes of its memory, whatever the protection; leaves copy-on-write sharing alone. */
int ptrace_peek(pid_t tid, uint64_t at, uint64_t *ret) must_use;
/* NT_X86_XSTATE in the non-compacted layout (kernel/xstate.h); *len: room in, bytes out. */
int ptrace_get_xstate(pid_t tid, void *buf, size_t *len) must_use;
int ptrace_set_xstate(pid_t tid, const void *buf, size_t len) must_use;
/* Blocked signals; bit n-1 is signal n. */
int ptrace_get_sigmask(pid_t tid, uint64_t *ret) must_use;
int ptrace_set_sigmask(pid_t tid, uint64_t mask) must_use;
/* Pending signals from number `from` on; how many were read (0: no more). Takes nothing away. */
int ptrace_peek_signals(pid_t tid, bool shared, uint64_t from, siginfo_t *buf, size_t n) must_use;
int ptrace_get_rseq(pid_t tid, struct rseq_config *ret) must_use;
int ptrace_get_user_dispatch(pid_t tid, struct user_dispatch *ret) must_use;
/*
 * Instructions of the index-th seccomp filter (0 is the oldest) into buf, which has room for
 * BPF_MAXINSNS; their number, or -ENOENT behind the newest.
 */
int ptrace_seccomp_filter(pid_t tid, unsigned index, struct sock_filter *buf) must_use;
/* SECCOMP_FILTER_FLAG_* of that filter (since 4.16). */
int ptrace_seccomp_flags(pid_t tid, unsigned index, uint64_t *ret) must_use;
