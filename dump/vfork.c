// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread that waits in vfork(2) (clone with CLONE_VFORK) cannot be stopped, and whom it waits for
 * has its memory, which is the memory of two processes as long as that lasts. So nothing can be
 * saved before that one has become another program or has ended. It may be unable to while we hold
 * others of its process: a dump lets all go for a while then and begins again (seize.c).
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "dump/ctx.h"
#include "inject/explain.h"
#include "kernel/kcmp.h"
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* Flags of clone3(2), whose arguments lie in the memory of the thread. */
static uint64_t clone3_flags(pid_t tid, uint64_t at)
{
	uint64_t flags = 0;
	struct iovec local = { &flags, sizeof(flags) };
	struct iovec remote = { (void *)(uintptr_t)at, sizeof(flags) };

	return process_vm_readv(tid, &local, 1, &remote, 1, 0) == sizeof(flags) ? flags : 0;
}

static bool is_in_vfork(pid_t tid)
{
	uint64_t nr, first;

	if (!current_call(tid, &nr, &first))
		return false;
	if (nr == SYS_vfork)
		return true;
	if (nr == SYS_clone3)
		first = clone3_flags(tid, first);
	return (nr == SYS_clone || nr == SYS_clone3) && first & CLONE_VFORK;
}

/* Its child that has its memory; 0: it waits for somebody else. */
static pid_t child_with_memory(pid_t pid, pid_t tid)
{
	auto_free char *text = NULL;
	struct cursor c;
	uint32_t child;

	if (io_slurpf(&text, NULL, "/proc/%d/task/%d/children", pid, tid) < 0)
		return 0;
	c = cursor_of(text);
	for (parse_blanks(&c); parse_u32(&c, 10, &child); parse_blanks(&c))
		if (kcmp_objects(tid, (pid_t)child, KCMP_VM, 0, 0) == 0)
			return (pid_t)child;
	return 0;
}

static void comm_of(pid_t pid, char *buf, size_t size)
{
	auto_free char *text = NULL;

	snprintf(buf, size, "?");
	if (io_slurpf(&text, NULL, "/proc/%d/comm", pid) < 0)
		return;
	text[strcspn(text, "\n")] = 0;
	snprintf(buf, size, "%s", text);
}

int vfork_refuse(pid_t pid, pid_t tid, struct err *err)
{
	char comm[32], other[32], frozen[400];
	pid_t child;

	if (!is_in_vfork(tid))
		return 0;
	comm_of(pid, comm, sizeof(comm));
	child = child_with_memory(pid, tid);
	if (!child)
		return err_target(err, EDEADLK,
			"task %d (%s): thread %d waits in clone(CLONE_VFORK) for another thread or "
			"process that has its memory; it can be saved when that one has ended or "
			"executed a program (--timeout waits longer)", pid, comm, tid);
	comm_of(child, other, sizeof(other));
	if (explain_frozen(child, frozen, sizeof(frozen)))
		return err_target(err, EDEADLK, "task %d (%s): thread %d waits in vfork for its child "
			"%d (%s), which does not run: %s", pid, comm, tid, child, other, frozen);
	return err_target(err, EDEADLK,
		"task %d (%s): thread %d waits in vfork for its child %d (%s), which has neither "
		"executed a program nor ended and still has the memory of its parent; save it "
		"afterwards (--timeout waits longer)", pid, comm, tid, child, other);
}
