/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A husk: a process that is being restored. It starts as a copy of a one-page static program (or,
 * for memory shared by copy-on-write, as a fork of its parent's husk), is ptrace-stopped all the
 * time and filled by tapes. It dies with torpor (PTRACE_O_EXITKILL).
 *
 * Address space while it is a husk: one area at the same address in all husks (chosen in a hole of
 * every future address space: husk_layout), holding player, tape and the parked vdso; nothing else
 * of ours. Descriptors while it is a husk: one socket (sock_fd), over which descriptors arrive.
 */
#pragma once
#include "base/err.h"
#include "inject/tape.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct husk_layout {
	uint64_t area; /* start of the area; page aligned */
	size_t area_len; /* player page + tape room + parking */
	uint64_t park; /* where vvar and vdso lie meanwhile, inside the area */
};

enum {
	HUSK_TAPE_MAX = 1024 * 1024, /* a tape's size limit (tape_size); longer work is split */
	HUSK_SEND_MAX = 250, /* descriptors per husk_send() */
};

struct husk {
	const struct husk_layout *layout;
	pid_t pid; /* as this host calls it */
	int pidfd;
	int mem; /* /proc/PID/mem, read-write, ours */
	int sock_fd; /* number of the socket in the husk */
	uint64_t vvar, vdso; /* where they lie now (parked or in place) */
	size_t vvar_len, vdso_len;
};

/* Plays a tape in the husk's leader (or thread tid if not 0). Calls tape_check(). */
int husk_play(struct husk *h, pid_t tid, struct tape *tape, struct err *err) must_use;
/*
 * Gives the husk duplicates of n <= HUSK_SEND_MAX of our descriptors; ret_numbers[i] is the number
 * it got for fds[i] (close-on-exec set, the husk must close or dup3 it).
 */
int husk_send(struct husk *h, const int *fds, size_t n, int *ret_numbers, struct err *err) must_use;
