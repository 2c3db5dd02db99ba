/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The insides of the file store, for kinds/store.c and kinds/install.c only. */
#pragma once
#include "kinds/store.h"
#include <sys/resource.h>

/* One description, or one descriptor for mmap. */
struct slot {
	const FileEntry *entry;
	int fd; /* ours, -1 not made or given away */
	unsigned users; /* tables that still want it */
	const struct store_table *counted; /* the table that counted it last */
	bool told; /* its room's tell was played */
	bool async; /* O_ASYNC is set where it is wanted */
	bool flying; /* lies in a queue: ours stays open to the end */
	pid_t holder; /* a task that has got it, as this host calls it, and its number there */
	int number;
	uint64_t remembered; /* number of the call that put it into the ring, 0 never */
};

struct store_table {
	unsigned tasks; /* live ones that have not got their folders yet */
	bool shared; /* by several tasks */
	int lender_fd; /* where the husks' pidfd of torpor lies now, -1 not installed */
};

struct file_store {
	struct file_maker maker;
	struct table slots; /* file id -> struct slot */
	struct table maps; /* access mode and file id -> struct slot */
	struct table tables; /* struct fdtable -> struct store_table */
	struct recent {
		struct slot *slot;
		uint64_t call;
	} recent[STORE_RECENT];
	uint64_t recent_calls;
	size_t lent; /* of ours that stay open for tapes which have not been played */
	struct rlimit old_limit;
};

/* F_SETFL flags with O_ASYNC if the description shall have that and is not given from outside, else 0. */
int store_async_flags(const struct world *w, const FileEntry *fe);
/* One table has it: that of the task `holder` (as this host calls it), at this number. */
void store_served(struct file_store *s, struct slot *slot, pid_t holder, int number);
