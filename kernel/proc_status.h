/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /proc/PID/status and /proc/PID/task/TID/status (proc(5), fs/proc/array.c): parsed in one pass
 * into plain numbers. Lines a kernel does not have leave their members at 0 (see has_*).
 */
#pragma once
#include "base/err.h"
#include "base/parse.h"
#include <stdint.h>
#include <sys/types.h>

enum {
	PROC_NS_LEVELS = 33, /* MAX_PID_NS_LEVEL of the kernel + 1 */
};

/* An id as every pid namespace sees it, from the reader's own to the innermost. */
struct ns_ids {
	unsigned n;
	pid_t at[PROC_NS_LEVELS];
};

struct proc_status {
	char state; /* R S D T t Z X I */
	pid_t tgid, pid, ppid;
	pid_t tracer;		   /* thread that traces it, 0 none */
	uint32_t uids[4], gids[4]; /* real, effective, saved, file system */
	struct cursor groups;	   /* points into the text; see proc_status_group() */
	struct ns_ids nstgid, nspid, nspgid, nssid;
	uint64_t threads;
	uint64_t sigpnd, shdpnd, sigblk, sigign, sigcgt; /* bit n-1 is signal n */
	uint64_t cap_inh, cap_prm, cap_eff, cap_bnd, cap_amb;
	uint64_t no_new_privs;
	uint64_t seccomp;	  /* SECCOMP_MODE_* */
	uint64_t seccomp_filters; /* since 5.9, else 0 */
	bool has_seccomp_filters;
	bool has_umask; /* not for zombies */
	uint64_t umask;
	bool shadow_stack; /* x86_Thread_features names shstk (since 6.6) */
};

/* The text must outlive *ret (its groups point into it). Fails if a basic line is missing. */
int proc_status_parse(const char *text, struct proc_status *ret, struct err *err) must_use;
/* Takes the next supplementary group: while (proc_status_group(&groups, &gid)) ... */
bool proc_status_group(struct cursor *groups, uint32_t *ret);
