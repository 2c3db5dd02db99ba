/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Places: some objects remember who made them or connected them (SO_PEERCRED), which cannot be set
 * afterwards. So the right task makes them: by a tape, while it is a husk, with the right ids. If
 * the task is no more, a helper takes its number for that moment.
 *
 *   place_open, then any number of place_send and place_play, then place_close
 */
#pragma once
#include "inject/husk.h"
#include "kinds/kind.h"

/* Ids with which something is made. */
struct maker_ids {
	uint32_t uid, gid;
	const uint32_t *groups;
	size_t n_groups;
};

struct place {
	struct husk *husk;
	struct husk helper; /* if no task of the tree has that number */
	struct husk *parent; /* of the helper */
	bool exact; /* it is the task that was asked for, or has its number */
};

/*
 * Where task pid (as in the images) can act. When that number belongs to somebody else, the root
 * of the tree acts instead and `exact` is false. Needs file_store_set_husks().
 */
int place_open(struct file_maker *m, pid_t pid, struct place *ret, struct err *err) must_use;
/* Duplicates of n <= HUSK_SEND_MAX descriptors of ours; ret_numbers: how it calls them there. */
int place_send(struct place *p, const int *fds, size_t n, int *ret_numbers, struct err *err)
	must_use;
/* Plays; TAPE_MUST calls that fail are errors. */
int place_play(struct place *p, struct tape *tape, struct err *err) must_use;
/* A descriptor of the place as one of ours. */
int place_take(struct place *p, int number, int *ret_fd, struct err *err) must_use;
/* Also after a failure. */
int place_close(struct place *p, struct err *err);

/*
 * Appends calls by which what follows is done with these effective ids and groups, all capabilities
 * kept; place_ids_end() takes them back. The result, for place_ids_set() after playing: whether all
 * ids could be had (CAP_SETUID, CAP_SETGID).
 */
size_t place_ids_begin(struct tape *tape, const struct maker_ids *ids);
void place_ids_end(struct tape *tape);
bool place_ids_set(const struct tape *tape, size_t begin);
