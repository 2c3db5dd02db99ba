/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rooms: one file per kernel thing with both directions and a const table. Two families:
 * file kinds (something a descriptor refers to) and facets (something every thread, task or
 * address space has). The registries are const arrays (file_kinds.c, facets.c); dump and restore only
 * walk them.
 */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include "image/image.h"
#include "inject/tape.h"
#include "model/findings.h"
#include "model/world.h"
#include "options/options.h"
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------ facets */

enum scope {
	PER_THREAD, /* every live thread, by itself */
	PER_TASK, /* once per task, by any live thread (the leader unless dead) */
};

/*
 * When a facet's `tell` calls are played at restore, in this order. Privileges get lost on the
 * way, so what needs them comes first; seccomp comes last because it may forbid the rest.
 */
enum phase {
	PHASE_EARLY, /* task, right after creation: personality, limits that must be there early */
	PHASE_TASK, /* task, memory and descriptors are complete: signal actions, timers */
	PHASE_THREAD, /* each thread exists: altstack, robust list, rseq, comm, pending signals */
	PHASE_CREDS, /* each thread: credentials, securebits, dumpable after them */
	PHASE_LAST, /* each thread: pdeath signal, no_new_privs, seccomp */
};

/* What a room noted between ask and learn: indices of calls, offsets of data. */
struct cue {
	size_t at[12];
};

struct look; /* dump side: the thread as seen from outside */

/* A stopped thread of the target, as the dump sees it. */
struct look {
	struct world *world;
	struct thread *thread;
	pid_t tid, tgid; /* as this host calls them; ptrace-stopped by us */
	int proc; /* descriptor of /proc/TGID/task/TID */
	const char *status; /* text of its "status" file */
	const char *stat; /* text of its "stat" file */
	const struct options *options;
	uint64_t asked_us; /* clock_us() shortly before the process was asked; 0 before that */
};

/* A created, stopped thread of a tree that is being restored. */
struct arise {
	struct world *world;
	const struct thread *thread;
	pid_t tid, tgid; /* as this host calls them; ptrace-stopped by us */
	const struct options *options;
	/* what rooms know about torpor itself: address of the facet -> in the arena; or NULL */
	struct table *ours;
};

struct facet {
	const char *name;
	enum scope scope;
	enum phase phase;
	/* Dump, from outside (/proc, ptrace, system calls that take a tid): fills core messages. */
	int (*look)(struct look *l, struct err *err);
	/* Dump, from inside: appends calls, then reads their results. */
	int (*ask)(struct tape *t, struct look *l, struct cue *cue, struct err *err);
	int (*learn)(const struct tape *t, struct look *l, const struct cue *cue, struct err *err);
	/*
	 * Dump, from outside, after all threads of the process were asked: what time brings about
	 * even while everything is stopped. All threads' reviews of one facet come before those of
	 * the next facet.
	 */
	int (*review)(struct look *l, struct err *err);
	/* Pure; the same before save and after load. */
	void (*check)(const struct world *w, const struct thread *th, struct findings *f);
	/* Restore, from inside: appends calls (TAPE_MUST where failure is an error). */
	int (*tell)(struct tape *t, const struct arise *a, struct err *err);
	/* Restore, from outside, after the thread's tape of that phase. */
	int (*set)(const struct arise *a, struct err *err);
};

/* In the order of asking and telling (within a phase); ends with NULL. */
extern const struct facet *const facets[];

/* -------------------------------------------------------------------------------- file kinds */

/* A shared memory object which was met at the dump: its content is saved by pages-shmem. */
struct shared_memory {
	uint32_t shmid;
	uint64_t size;
	int fd; /* readable, the collector's */
};

struct shared_list vec_of(struct shared_memory);

struct file_collector;
struct connection_list; /* kinds/sock/tcp.h */

/* One descriptor of the target, with a duplicate of it in our hands. */
struct fd_look {
	struct world *world;
	const struct task *task;
	pid_t tid; /* a live thread, as this host calls it */
	int fd; /* number in the target; -1 for cwd, root, exe, mapped files */
	int dup; /* ours; O_PATH for exe, cwd, root, mapped files */
	struct stat st;
	int flags; /* F_GETFL */
	const char *link; /* text of /proc/.../fd/N */
	const char *fdinfo; /* text of /proc/.../fdinfo/N, "" where there is none */
	long fs_type; /* statfs f_type */
	int mnt_id; /* -1 unknown */
	struct image_set *images;
	const struct options *options;
	uint32_t *next_id; /* for companion entries */
	struct table *seen; /* of this dump, per room: table_key(type, its own id) -> in the arena */
	struct table *ghosts; /* for names/ghost.h, names/linkremap.h */
	struct made_links *links; /* names which this dump has made */
	struct shared_list *shared; /* rooms of memory objects add theirs */
	struct handle_space **handles; /* of the collector; look_handles() makes it */
	struct file_collector *collector; /* for file_collect_flying() */
	/*
	 * NULL, or the descriptor in whose queue it lies (SCM_RIGHTS); then tid and fd are torpor's
	 * own, and task is the one that has the queue.
	 */
	const struct fd_look *carrier;
	struct connection_list *connections; /* the inet room adds its live ones */
};

/* Dump, after all tables: what a room can still find out. */
struct settle {
	struct world *world;
	const struct options *options;
	struct image_set *images;
	struct table *seen;
	struct file_collector *files; /* for kinds/collect.h */
};

struct file_collector;
struct handle_space;

/*
 * A descriptor that was found in a queue: *ret_id is the entry of its description, which is
 * collected if it is not known. Takes the descriptor.
 */
int file_collect_flying(const struct fd_look *carrier, int take_fd, uint32_t *ret_id,
	struct err *err) must_use;

struct reach;
struct husk;

/* What a file room can use while a tree is being restored. */
struct file_maker {
	struct world *world;
	struct image_set *images;
	const struct options *options;
	struct table made; /* per room: table_key(type, its own id) -> pointer in arena */
	struct table kept; /* 1 + file id -> not NULL: ours stays open (file_keep) */
	struct arena *arena;
	struct reach *reach; /* opens by name (names/reach.h) */
	struct handle_space *handles; /* NULL until maker_handles() makes it */
	struct husk *(*husk_of)(void *ctx, const struct task *t); /* for kinds/place.h */
	void *husk_ctx;
	bool complete; /* the restore has succeeded: what clean() is told */
};

/*
 * A duplicate (the caller's) of the descriptor of a file entry: of the one that is still here, or
 * of that in the task which has got it; makes it if it does not exist.
 */
int file_maker_fd(struct file_maker *m, uint32_t id, int *ret_fd, struct err *err) must_use;

struct file_kind {
	const char *name; /* for messages: "pipe", "regular file" */
	FdTypes type;
	/* Does this room know what the descriptor refers to? Asked in registry order. */
	bool (*match)(const struct fd_look *l);
	/* Fills fe (id and type are set). Called once per open file description. */
	int (*collect)(const struct fd_look *l, FileEntry *fe, struct err *err);
	/* Saves queued data without consuming them (called once per description, may be NULL). */
	int (*bulk)(const struct fd_look *l, FileEntry *fe, struct err *err);
	/*
	 * Dump, after all tables: the same for queues that may hold descriptors, each of which is given
	 * to file_collect_flying(). Also called for descriptions which are only found so. May be NULL.
	 */
	int (*peek)(const struct fd_look *l, FileEntry *fe, struct err *err);
	/* Dump, after all tables and queues: refuses what only the whole tree shows. May be NULL. */
	int (*settle)(const struct settle *s, struct err *err);
	/* Pure checks of one entry. May be NULL. */
	void (*check)(const struct world *w, const FileEntry *fe, struct findings *f);
	/* Restore, once, before anything is made: what concerns many entries. May be NULL. */
	void (*prepare)(struct file_maker *m);
	/* A task has just begun its session, before it has children: its controlling terminal. */
	int (*lead)(struct file_maker *m, const struct task *t, struct err *err);
	/* Makes the open file description; the descriptor becomes the caller's, O_CLOEXEC. */
	int (*create)(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err);
	/* A descriptor for mmap with the access mode of `flags`. NULL: any descriptor will do. */
	int (*open_map)(struct file_maker *m, const FileEntry *fe, int flags, int *ret_fd,
		struct err *err);
	/* When all tables are complete: what refers to other descriptors, queued data. May be NULL. */
	int (*connect)(struct file_maker *m, const FileEntry *fe, int fd, struct err *err);
	/*
	 * Appends calls of a task whose table is complete and has the description as `number`; has()
	 * tells which numbers it has. 1: that is all, 2: call again with the same *at (0 at first)
	 * after playing, 0: this task cannot. Asked until one task could. May be NULL.
	 */
	int (*tell)(struct file_maker *m, const FileEntry *fe, int number,
		bool (*has)(const void *table, int number), const void *table, struct tape *tape,
		size_t *at);
	/* Ours stay open for connect and arm (-1 otherwise) when the tasks have theirs. */
	bool keep;
	/* After all that: what would notice the work on other files (watches). May be NULL. */
	int (*arm)(struct file_maker *m, const FileEntry *fe, int fd, struct err *err);
	/*
	 * Once, when all tables are installed and the tasks still play tapes: what ties descriptors to
	 * each other, queued data (file_maker_fd() gives each). May be NULL.
	 */
	int (*join)(struct file_maker *m, struct err *err);
	/* Called at the end of the restore, also a failed one: removes temporary names. May be NULL. */
	void (*clean)(struct file_maker *m);
	/* One line for `show`: "pipe 1234 write end". May be NULL. */
	void (*describe)(const FileEntry *fe, char *buf, size_t size);
};

/* Ours of this file entry shall stay open when the tasks have theirs. */
void file_keep(struct file_maker *m, uint32_t id);
/* The descriptor of a file entry, made if need be; borrowed. */
int file_made(struct file_maker *m, uint32_t id, int *ret_fd, struct err *err) must_use;
/* In the order of match; ends with NULL. */
extern const struct file_kind *const file_kinds[];
/* The room of an fd type or NULL. */
const struct file_kind *file_kind_of(FdTypes type);
/* "task 42 (redis), descriptor 7" or "task 42 (redis), a file it maps" into buf; returns buf. */
const char *file_look_who(const struct fd_look *l, char *buf, size_t size);
/*
 * Sentence for a descriptor nobody knows: "task 42 (redis), descriptor 7 is a TCP socket
 * (socket:[123]), which this version cannot save".
 */
int file_kind_refuse(const struct fd_look *l, struct err *err);
