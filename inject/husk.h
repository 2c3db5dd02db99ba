/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A husk: a process that is being restored. The first one starts as a one-page static program run
 * from a memfd, the others as forks; all are ptrace-stopped all the time and filled by tapes. They
 * die with torpor (PTRACE_O_EXITKILL).
 *
 * Address space while it is a husk: one area at the same address in all husks (in a hole of every
 * future address space), holding player, tape and the parked vdso; nothing else of ours.
 * Descriptors while it is a husk: one socket (sock_fd), over which descriptors arrive.
 * Signals: all blocked but the marker, by which a tape tells its end (hold.h explains why a signal).
 *
 *   husk_start, husk_fork --> EMPTY or FORKED --husk_play*--> ... --husk_leave--> gone from our hands
 */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include "inject/tape.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

enum {
	HUSK_TAPE_MAX = 1024 * 1024, /* a tape's size limit (tape_size); longer work is split */
	HUSK_SEND_MAX = 250, /* descriptors per husk_send() */
	HUSK_PARK_LEN = 256 * 1024, /* for vvar and vdso */
	HUSK_AREA_LEN = 8192 + HUSK_TAPE_MAX + 4096 + HUSK_PARK_LEN,
};

/* What all husks of one restore have in common. */
struct husk_layout {
	uint64_t area; /* start of the area; page aligned */
	size_t area_len; /* HUSK_AREA_LEN */
	uint64_t park; /* where vvar and vdso lie meanwhile, inside the area */
	int send_fd; /* our end of the socket, -1 before husk_start() */
};

struct pid_list vec_of(pid_t);

struct husk {
	const struct husk_layout *layout;
	pid_t pid; /* as this host calls it */
	int mem; /* /proc/PID/mem, read-write, ours */
	int sock_fd; /* number of the socket in the husk */
	int marker; /* signal used to tell the end of a tape */
	uint64_t vvar, vdso; /* where they lie now (parked or in place) */
	size_t vvar_len, vdso_len;
	struct pid_list born; /* children and threads since husk_take_born(), all stopped */
};

/*
 * Makes the first husk with this pid (0: any), a child of ours or (sibling) of our parent: exec,
 * area mapped, vdso parked, everything else unmapped. layout->send_fd is set.
 */
int husk_start(struct husk *h, struct husk_layout *layout, pid_t pid, bool sibling,
	struct err *err) must_use;
/* How a husk is forked. */
struct husk_birth {
	pid_t pid; /* in the tree's pid namespace, 0: any */
	uint64_t flags; /* CLONE_PARENT, CLONE_FILES, CLONE_FS */
};
/* Forks h; the child has a copy of its memory as it is now. */
int husk_fork(struct husk *h, const struct husk_birth *birth, struct husk *child,
	struct err *err) must_use;
/* Back to nothing but the area, vdso parked: for a fork of a husk whose memory was built already. */
int husk_clear(struct husk *h, struct err *err) must_use;
/* Plays a tape in the husk's leader (or thread tid if not 0). Calls tape_check(). */
int husk_play(struct husk *h, pid_t tid, struct tape *tape, struct err *err) must_use;
/*
 * Gives the husk duplicates of n <= HUSK_SEND_MAX of our descriptors; ret_numbers[i] is the number
 * it got for fds[i] (close-on-exec set, the husk must close or dup3 it).
 */
int husk_send(struct husk *h, const int *fds, size_t n, int *ret_numbers, struct err *err) must_use;
/*
 * Creates n threads with these ids (as many tapes as needed). They stay stopped; their ids as this
 * host calls them go to ret_real.
 */
int husk_threads(struct husk *h, const pid_t *tids, size_t n, pid_t *ret_real, struct err *err)
	must_use;
/* The husk exits: with a code (0..255) or, if signal is not 0, killed by it. We reap our part. */
int husk_exit(struct husk *h, int code, int signal, struct err *err) must_use;
/* Unmaps the area by thread tid, which is left in a syscall stop: only registers and detach may follow. */
int husk_unmap_area(struct husk *h, pid_t tid, struct err *err) must_use;
/*
 * Lets thread tid (a leader whose other threads live) go and call exit(2) with the code. Returns
 * when it is a zombie; the area must still be mapped.
 */
int husk_leader_exit(struct husk *h, int code, struct err *err) must_use;
/* Closes what we hold of it. */
void husk_done(struct husk *h);
