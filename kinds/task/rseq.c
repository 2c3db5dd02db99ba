// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of restartable sequences (linux/rseq.h, Documentation of the rseq system call): the
 * registration of each thread. The critical section a thread may be in is left before, see
 * rseq_fix_ip() in task.h; so the image never needs rseq_cs_pointer, but one that stands there
 * is honoured.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/ptrace.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>

enum {
	RSEQ_CS_AT = 8, /* offset of rseq_cs in struct rseq */
	RSEQ_FLAGS_AT = 16,
	NO_RESTART_ON_SIGNAL = 2, /* obsolete since 6.0 */
	SIGNATURE_LEN = 4,	  /* stands in front of an abort handler */
};

/* struct rseq_cs */
struct section {
	uint32_t version, flags;
	uint64_t start, len, abort;
};

int rseq_fix_ip(pid_t tid, int mem, struct user_regs_struct *regs, struct err *err)
{
	struct rseq_config conf = { 0 };
	struct section cs;
	uint32_t flags, signature;
	uint64_t at;

	/* a kernel without the request cannot tell: then the thread stays where it is */
	if (ptrace_get_rseq(tid, &conf) < 0 || !conf.pointer)
		return 0;
	if (io_pread_all(mem, &at, sizeof(at), (off_t)conf.pointer + RSEQ_CS_AT) < 0 || !at)
		return 0;
	/* what cannot be read or is wrong kills the thread when it goes on, with or without us */
	if (io_pread_all(mem, &cs, sizeof(cs), (off_t)at) < 0 ||
		io_pread_all(mem, &flags, sizeof(flags), (off_t)conf.pointer + RSEQ_FLAGS_AT) < 0)
		return 0;
	if (regs->rip - cs.start >= cs.len || (cs.flags | flags) & NO_RESTART_ON_SIGNAL)
		return 0;
	if (io_pread_all(mem, &signature, sizeof(signature), (off_t)cs.abort - SIGNATURE_LEN) < 0 ||
		signature != conf.signature)
		return 0;
	regs->rip = cs.abort;
	return 1;
}

static int rseq_look(struct look *l, struct err *err)
{
	ThreadCoreEntry *core = own_core(l);
	RseqEntry *e = arena_msg(l->world->arena, RseqEntry, rseq_entry);
	struct rseq_config conf = { 0 };
	char who[THREAD_NAME];
	int r = ptrace_get_rseq(l->tid, &conf);

	/* kernels before 5.13, or without rseq, do not know the request */
	if (r < 0 && r != -EIO && r != -EINVAL)
		return err_sysn(err, -r, "cannot read the rseq registration of %s",
			thread_name(l->thread, who, sizeof(who)));
	if (r == 0 && conf.pointer) {
		e->rseq_abi_pointer = conf.pointer;
		e->rseq_abi_size = conf.size;
		e->signature = conf.signature;
	}
	core->rseq_entry = e;
	return 0;
}

static int rseq_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;
	const RseqEntry *e = core ? core->rseq_entry : NULL;

	if (e && e->rseq_abi_pointer)
		tape_call(t, "rseq", TAPE_MUST, SYS_rseq, T(e->rseq_abi_pointer),
			T(e->rseq_abi_size), T(0), T(e->signature));
	return 0;
}

/* The kernel clears the pointer whenever a thread runs outside the section, as in a tape. */
int rseq_set_late(const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;
	const RseqEntry *e = core ? core->rseq_entry : NULL;
	auto_close int mem = -1;
	char path[64];
	int r;

	if (!e || !e->has_rseq_cs_pointer || !e->rseq_cs_pointer || !e->rseq_abi_pointer)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/mem", a->tid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	if (mem < 0)
		return err_sys(err, "cannot open %s", path);
	r = io_pwrite_all(mem, &e->rseq_cs_pointer, sizeof(e->rseq_cs_pointer),
		(off_t)e->rseq_abi_pointer + RSEQ_CS_AT);
	return r < 0 ? err_sysn(err, -r, "cannot write its rseq area") : 0;
}

const struct facet facet_rseq = {
	.name = "rseq",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.look = rseq_look,
	.tell = rseq_tell,
};
