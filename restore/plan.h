/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The plan of a restore: who is created by whom and when, so that parents, sessions and process
 * groups come out as they were. Pure: made from the world alone, printed by `torpor plan`.
 *
 * What Linux allows: a session is inherited at fork or begun by setsid(2); a process group is
 * joined by setpgid(2) within one session and needs a member. So
 * - a task that is in its parent's session is forked by the parent after the parent's setsid;
 * - one that is in the session its parent was born in is forked before that;
 * - one whose session leader is another child of its parent is forked by that leader with
 *   CLONE_PARENT; if the leader is gone, a helper takes its pid for a while;
 * - one whose session leader is deeper in the tree is a grandchild of that leader: a helper between
 *   them exits and the task falls to its parent, which is a child subreaper meanwhile;
 * - a group whose leader is gone gets a helper with its number while it is joined.
 * Tasks that inherit memory from their parent are forked after the parent's memory is complete,
 * all others before there is any.
 */
#pragma once
#include "model/world.h"
#include "options/options.h"

enum step_kind {
	STEP_START, /* actor is the first husk */
	STEP_FORK, /* by forks actor */
	STEP_SETSID,
	STEP_SUBREAPER, /* for the time of the restore */
	STEP_BUILD, /* memory */
	STEP_GROUP, /* setpgid(0, pgid) */
	STEP_END, /* a helper exits, its parent reaps it */
	STEP_DIE, /* a zombie gets its status */
};

/* Someone who takes part: a task, or a helper which exists only for a while. */
struct actor {
	struct task *task; /* NULL: helper */
	pid_t pid; /* 0: any */
	struct actor *parent; /* who reaps it; NULL for the root */
	struct actor *by; /* who forks it; NULL for the root */
	uint64_t flags; /* of clone: CLONE_PARENT, CLONE_FILES, CLONE_FS */
	pid_t born_sid; /* session it is born in */
	pid_t group; /* in which the steps so far have put it; 0: not known */
	bool inherits; /* starts with its parent's memory */
	bool moved; /* a group leader that has joined another group */
	bool early; /* forked before its creator's setsid */
	struct actor *first, *last, *next; /* what it creates */
	size_t index;
};

struct step {
	enum step_kind kind;
	struct actor *actor;
	pid_t pgid; /* STEP_GROUP */
};

struct plan {
	struct actor **actors; /* tasks first, in world order, then helpers */
	size_t n_actors;
	struct step *steps;
	size_t n_steps;
	pid_t outer_sid, outer_pgid; /* shell job: these numbers mean torpor's own session and group */
};

/* In the world's arena. Fails (class unsupported) naming the task that cannot be placed. */
int plan_make(struct world *w, const struct options *o, struct plan *ret, struct err *err) must_use;
/* For people, one step a line. */
void plan_print(const struct plan *p, FILE *out);
/* As a JSON array. */
void plan_print_json(const struct plan *p, FILE *out);
