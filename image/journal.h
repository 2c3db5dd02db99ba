/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The journal: every effect outside of the image directory (a hard link, a firewall table, a mount,
 * a frozen control group, a process left for tracking ...) is written here, and has reached the
 * disk, before it is made. `torpor leftovers` reads it (names/leftovers.h).
 *
 * The file "torpor-journal" in the image directory is text, one record a line:
 *
 *   torpor-journal 1
 *   run 1 command=dump id=UUID boot=UUID pid=42 since=1234 .
 *   make 1 kind=link path=/srv/link_remap.7 dev=65024 ino=99 why=... .
 *   gone 1 .
 *
 * Invariants:
 * - "make" stands on the disk before the effect exists, so a torn line (no dot) is no effect;
 * - "gone" follows when the effect was taken back and may be lost: who reads looks whether the
 *   effect still stands;
 * - a run which leaves no effect leaves no journal; one which finds a journal adds to it;
 * - who writes holds a lock (flock, shared) on the file, who removes it has it alone: several may work
 *   in one directory;
 * - the folder JOURNAL_INDEX holds a symbolic link to every image directory with a journal, so that
 *   leftovers are found without knowing where to look. It is only an index: where it cannot be
 *   written the journal works all the same.
 *
 * Use: journal_add(); make the effect; journal_gone() once it was taken back. Many at once:
 * journal_note() each, one journal_sync(), make them all.
 */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "base/vec.h"
#include <stdint.h>
#include <sys/types.h>

#define JOURNAL_NAME "torpor-journal"
#define JOURNAL_INDEX "/var/lib/torpor/journals"

enum effect_kind {
	EFFECT_LINK, /* a further name (hard link) of a file */
	EFFECT_FILE, /* a file or an empty folder of ours */
	EFFECT_MOUNT, /* something mounted on path */
	EFFECT_NFT_TABLE, /* path: "inet NAME"; dev, ino: the network namespace */
	EFFECT_IPTABLES, /* path: a tag in the comment of our rules; dev, ino: the network namespace */
	EFFECT_CGROUP, /* path: folder of a control group which we froze */
	EFFECT_PROCESS, /* pid, since: a process of ours that lives on */
	EFFECT_REPAIR, /* TCP_REPAIR set on sockets of process pid (and its children); ino: socket, 0: any */
	EFFECT_COUNT
};

/* Strings are the caller's and need to live only during the call; what is not known is 0 or NULL. */
struct effect {
	enum effect_kind kind;
	const char *path; /* absolute, except as said above */
	uint64_t dev, ino; /* st_dev and st_ino, to know it again */
	pid_t pid; /* as torpor sees it */
	uint64_t since; /* start of that process, /proc/PID/stat field 22 */
	const char *why; /* why it stays, for people: "keeps 3 connections quiet" */
};

struct journal;

/*
 * A journal in the directory; nothing is created before the first effect. dirfd stays the
 * caller's; command is a literal ("dump"). Fails if there is a journal that cannot be understood.
 */
int journal_open(int dirfd, const char *command, struct journal **ret, struct err *err) must_use;
/*
 * Removes file and index entry if no effect stands, of this run or another one, and nobody else
 * writes. NULL is fine.
 */
void journal_close(struct journal *j);
/* The same for what a run has left that was killed before it made anything. */
void journal_tidy(int dirfd);
/* The UUID of this run; a dump's stands in its inventory (dump_criu_run_id). */
const char *journal_run_id(const struct journal *j);

/* Writes the record down; after success the effect may be made. *ret_id may be NULL. */
int journal_add(struct journal *j, const struct effect *e, uint32_t *ret_id, struct err *err)
	must_use;
/* The same for many: the effects may be made after journal_sync(). */
int journal_note(struct journal *j, const struct effect *e, uint32_t *ret_id, struct err *err)
	must_use;
int journal_sync(struct journal *j, struct err *err) must_use;
/* The effect is no more (or never was). What cannot be written is only logged. */
void journal_gone(struct journal *j, uint32_t id);

/* ---- reading ---- */

struct journal_run {
	uint32_t number;
	const char *command, *id, *boot; /* boot: /proc/sys/kernel/random/boot_id */
	pid_t pid; /* of torpor */
	uint64_t since;
};

struct journal_effect {
	uint32_t id;
	const struct journal_run *run;
	struct effect effect;
	bool gone; /* recorded as taken back */
};

struct journal_effects vec_of(struct journal_effect);

struct journal_view {
	struct journal_effects effects; /* in the order they were noted */
	uint32_t last_run;
	bool found; /* there is a journal */
	bool trusted; /* nobody but us (or root) can have written it */
};

/*
 * Reads the journal of a directory, strings into the arena. A missing one is an empty view. The
 * caller calls vec_done() on the effects.
 */
int journal_read(int dirfd, struct arena *a, struct journal_view *ret, struct err *err) must_use;
/* Whether an entry of the index is that of this directory, and it has a journal. */
bool journal_is_indexed(const char *entry, int dirfd);
/* "link", "table" ... as in the file. */
const char *effect_kind_name(enum effect_kind kind);
/* Tells this start of this computer from all others; false if it cannot be read. */
bool journal_boot_id(char ret[37]);
/* When a process was started, 0 if there is none. */
uint64_t journal_process_start(pid_t pid);
