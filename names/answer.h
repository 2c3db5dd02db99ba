/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File systems that somebody else serves (FUSE, another computer) may hang, and who looks at a file
 * there hangs with them: often beyond SIGKILL (fs/fuse/dev.c: a question that was read is waited
 * for). So before torpor looks at files of a target, or for one, a child asks each such file system
 * something; it is the child that hangs, and torpor who gives up.
 *
 * One that stops to answer later, while the target stands still, is met by base/far.h.
 */
#pragma once
#include "base/err.h"
#include "kernel/mountinfo.h"
#include <limits.h>
#include <stdint.h>

/* In the child: what is asked. */
struct asking;

/* Who did not answer. */
struct unanswered {
	int64_t who; /* as given to answer_ask() */
	uint32_t dev; /* of its file system (kernel's form), 0: not known */
	char path[PATH_MAX]; /* as given to answer_ask() */
};

/* Whether any of these mounts is of a kind that may hang. */
bool answer_is_doubtful(const struct mount_lines *mounts);
/* Looks at what the path leads to, and asks its file system unless that was asked before. */
void answer_ask(struct asking *a, const char *path, int64_t who);
/* Whether a file system was asked already (device in the kernel's form). */
bool answer_was_asked(const struct asking *a, uint32_t dev);
/*
 * Calls ask(a, ctx) in a child without descriptors. 0: everything was answered, with an error or
 * not. 1: *ret was not, for timeout_s seconds (0: for ever); then the child is killed, and ends when
 * it can. Negative: there is no child.
 */
int answer_await(void (*ask)(struct asking *a, const void *ctx), const void *ctx, unsigned timeout_s,
	struct unanswered *ret, struct err *err) must_use;
/*
 * The same for n independent questions, ask(a, ctx[i]), each in a child of its own, many at a time:
 * ret_silent[i] tells which were not answered within timeout_s seconds.
 */
int answer_which(void (*ask)(struct asking *a, const void *ctx), const void *const *ctx, size_t n,
	unsigned timeout_s, bool *ret_silent, struct err *err) must_use;
/* Whether a path is this mount point or below it, by its letters. */
bool path_lies_below(const char *path, const char *point);
/*
 * The sentence for it; `whose` begins it ("task 42 (cat)"), `name` is how people call the path. The
 * mount is looked for in mounts.
 */
int answer_refuse(const struct unanswered *u, const struct mount_lines *mounts, const char *whose,
	const char *name, struct err *err) must_use;
