/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The keeper: a small process of ours which outlives a dump and keeps the tracking of one tree of
 * tasks alive, by holding their userfaultfds. It does nothing but wait for the ends of the tasks
 * and is gone with the last of them; it is called "torpor-tracker".
 *
 * It is also a token. Its identity stands in the images after which it was started ("torpor-tracker"
 * of the set). Whoever restarts the tracking ends it first. So a set whose keeper lives is the one
 * since which all writes are known, and a set whose keeper is gone is not.
 *
 *   started --keeper_hand_over--> keeping --> gone with the last task, or by keeper_end()
 *      \--> gone with torpor, or by keeper_drop()
 */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "proto/messages.h"
#include <sys/types.h>

/* A task in the hands of the keeper. */
struct kept_task {
	pid_t pid;
	uint64_t start; /* field 22 of /proc/PID/stat */
	int uffd; /* -1 if this tracker has none */
};

struct keeper {
	pid_t pid; /* 0: none */
	int sock;
};

/*
 * Starts one that waits for its tasks. To be called early in a dump: it keeps the memory that torpor
 * has by then. It dies with torpor until keeper_hand_over().
 */
int keeper_start(struct keeper *k, struct err *err) must_use;
/*
 * Gives it duplicates of the descriptors; from then on it stands by itself. Fills the fields
 * boot_id, keeper, keeper_start and tasks of e, in the arena.
 */
int keeper_hand_over(struct keeper *k, const struct kept_task *tasks, size_t n, struct arena *a,
	TorporTrackerEntry *e, struct err *err) must_use;
/* Ends one that was not handed over, or forgets one that was. */
void keeper_drop(struct keeper *k);

/* Somebody else's keeper, found. */
struct kept {
	pid_t pid;
	int pidfd;
};

/* The keeper that a set names: 1 if it lives, 0 if not (or not on this computer since its boot). */
int keeper_of_set(const TorporTrackerEntry *e, struct kept *ret, struct err *err) must_use;
/* The keeper of the tree with this root, whatever set it belongs to: 1 or 0. */
int keeper_of_tree(pid_t root, struct kept *ret, struct err *err) must_use;
/* A duplicate of the userfaultfd it keeps for the task with this index in its set's entry: 1, or 0. */
int keeper_borrow(const struct kept *k, size_t index, int *ret_fd, struct err *err) must_use;
/* Ends it and waits until it is gone: tracking goes on only through duplicates of its descriptors. */
int keeper_end(struct kept *k, struct err *err) must_use;
void kept_done(struct kept *k);
