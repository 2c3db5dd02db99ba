/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What dumps and restores have left outside of their image directories: everything in a journal
 * that still stands, and what only its name betrays (tables "CRIU-*", rules with the mark of the
 * network lock, files "link_remap.*"), whoever made it.
 */
#pragma once
#include "base/vec.h"
#include "names/effects.h"
#include "names/silent.h"

struct leftover {
	struct effect effect;
	enum effect_state state; /* never EFFECT_ABSENT when found */
	const char *directory; /* image directory that tells of it; NULL: known by its name only */
	uint32_t id; /* in that directory's journal, 0: not there */
	bool needed; /* by complete images: their restore takes it back */
	bool busy; /* the torpor that made it is at work */
	bool remove; /* set by the caller; false again when it could not be removed */
};

struct leftover_list vec_of(struct leftover);
struct path_list vec_of(const char *);

struct leftovers {
	struct arena *arena;
	struct vec_of(const char *) directories; /* with a journal */
	struct leftover_list list;
	struct leftover_list again; /* noted once more in the same journal: crossed out with those in list */
	struct leftover_list absent; /* noted on this host, but not there: crossed out by a removal */
	size_t index_dead; /* entries of the index that lead to no journal any more */
	struct silent silent; /* file systems that do not answer */
	struct path_list unanswered; /* image directories on them, which nobody can look into */
};

/*
 * directory NULL: all that the index knows, and names everywhere. Otherwise only what belongs to
 * that directory. Below the folders of `search` files called link_remap.* are looked for. File
 * systems that do not answer within timeout_s seconds (0: waits for ever) are left out. The caller
 * calls leftovers_done(), also after a failure.
 */
int leftovers_find(const char *directory, char *const *search, size_t n_search, unsigned timeout_s,
	struct leftovers *ret, struct err *err) must_use;
/* Takes back those marked; journals are brought up to date, dead entries of the index go. */
int leftovers_remove(struct leftovers *l, struct err *err) must_use;
void leftovers_done(struct leftovers *l);

/*
 * Takes back what the dump with this run id has left, after its restore: the set's journal tells.
 * What cannot be taken back is a warning.
 */
struct image_set;
void leftovers_take_back(struct image_set *set, const char *run_id);
