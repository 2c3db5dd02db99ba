/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A husk: a process that is being restored. The first one starts as a one-page static program run
 * from a memfd, the others as forks; all are ptrace-stopped all the time and filled by tapes. They
 * die with torpor (PTRACE_O_EXITKILL).
 *
 * Address space while it is a husk: one area at the same address in all husks (in a hole of every
 * future address space), holding player, tapes and the parked vdso; nothing else of ours. The tapes
 * lie in memory that all husks share with torpor: they are written and read without copying, and
 * each of many husks that play at the same time has a part of it.
 * Descriptors while it is a husk: a pidfd of torpor (lender_fd), by which it takes what torpor has
 * (pidfd_getfd(2)): unlike messages of a socket these cannot be mistaken for those of another husk.
 * Signals: all blocked but the marker, by which a tape tells its end (hold.h explains why a signal).
 *
 * Births: CLONE_PTRACE makes us the tracer of a new task without stopping its creator for an event,
 * so one tape can make many.
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
	uint8_t *tapes; /* the husks' tapes as we see them; NULL before husk_start() */
	int tapes_fd; /* that memory */
	struct user_regs_struct regs; /* of a husk: what no tape changes */
	unsigned patience_s; /* one that plays and does not run for so long is given up; 0: never */
};
/* Lets go of what husk_start() made for all husks; fine before it, too. */
void husk_layout_done(struct husk_layout *layout);

struct husk {
	const struct husk_layout *layout;
	pid_t pid; /* as this host calls it */
	int mem; /* /proc/PID/mem, read-write, ours; -1 until it is needed */
	int lender_fd; /* number, in the husk, of a pidfd of torpor */
	int marker; /* signal used to tell the end of a tape */
	uint64_t vvar, vdso; /* where they lie now (parked or in place) */
	size_t vvar_len, vdso_len;
};

/*
 * Makes the first husk with this pid (0: any), a child of ours or (sibling) of our parent: exec,
 * area mapped, vdso parked, everything else unmapped. Fills in the layout.
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
/*
 * Forks h n times, in this order. After a failure too, child[i]->pid tells whether that one exists
 * (0: it does not).
 */
int husk_fork_all(struct husk *h, const struct husk_birth *births, struct husk *const *children,
	size_t n, struct err *err) must_use;
/* Back to nothing but the area, vdso parked: for a fork of a husk whose memory was built already. */
int husk_clear(struct husk *h, struct err *err) must_use;
/* Plays a tape in the husk's leader (or thread tid if not 0). Calls tape_check(). */
int husk_play(struct husk *h, pid_t tid, struct tape *tape, struct err *err) must_use;
/* A tape for one thread. */
struct husk_turn {
	struct husk *h;
	pid_t tid; /* 0: the leader */
	struct tape *tape;
	size_t at, size; /* husk_play_all()'s own: its part of the shared memory */
	int result; /* 0, or why it failed; -ECANCELED: not played, because of an earlier one */
};
/*
 * Plays tapes of different threads, as many of them at the same time as there is room for: all of
 * these are started before the first is waited for. Each is checked (tape_check()); after a failure
 * those that play are brought to their end, except when one hangs (-ETIMEDOUT) or torpor is
 * interrupted (-EINTR): then nothing but their end by SIGKILL may follow. Returns the first failure.
 * SIGALRM and ITIMER_REAL are in use meanwhile.
 */
int husk_play_all(struct husk_turn *turns, size_t n, struct err *err) must_use;
/* Bytes of its memory, whatever their protection: 0 or a negative errno. */
int husk_write(struct husk *h, const void *buf, size_t len, uint64_t vaddr) must_use;
int husk_read(struct husk *h, void *buf, size_t len, uint64_t vaddr) must_use;
/*
 * Appends the call by which a husk whose pidfd of torpor is `lender` takes a duplicate of our
 * descriptor fd, which must stay open until the tape was played; close-on-exec is set. The result
 * is the number there.
 */
size_t tape_take(struct tape *t, int lender, int fd);
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
/*
 * Unmaps the areas of n husks, each by its thread `tid`, which is left in a syscall stop: only
 * registers and detach may follow. Neither tape nor result of the turns is used.
 */
int husk_unmap_areas(const struct husk_turn *turns, size_t n, struct err *err) must_use;
/*
 * Lets thread tid (a leader whose other threads live) go and call exit(2) with the code. Returns
 * when it is a zombie; the area must still be mapped.
 */
int husk_leader_exit(struct husk *h, int code, struct err *err) must_use;
/* Closes what we hold of it. */
void husk_done(struct husk *h);
