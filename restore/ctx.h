/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the stages of a restore share. One exists per run; stages fill it in order. */
#pragma once
#include "inject/husk_queue.h"
#include "kinds/kind.h"
#include "kinds/mem/mm.h"
#include "kinds/sysv.h"
#include "kinds/sock/tcp.h"
#include "kinds/store.h"
#include "names/netlock.h"
#include "restore/plan.h"
#include "restore/restore.h"
#include <sched.h>

struct restore {
	const struct options *o;
	int images_dirfd, workdir_fd;
	struct image_access access;
	struct image_set *images;
	struct world *world;
	struct file_store *files;
	struct mm_legacies *legacies;
	struct sysv_made *ipc;
	struct vdso_self vdso;
	bool huge_always;
	struct plan plan;
	struct husk_layout layout;
	struct husk *husks; /* by actor index */
	bool *husk_lives, *filled; /* by actor index: exists; holds the memory of some task */
	size_t n_husks;
	struct husk_queue queue; /* empty between stages */
	struct table ours; /* for struct arise */
	bool pidfile_made;
	struct tcp_flows flows; /* of all connections */
	struct netlock lock;
	bool lock_found; /* made by the dump, not by us */
	int lazy_sock; /* to the lazy-pages daemon, -1 */
	bool hangs; /* a task that was killed does not end */
	cpu_set_t cpus; /* ours before we pinned ourselves */
	struct restore_figures *figures;
	uint64_t start_us;
};

static inline struct husk *husk_of(struct restore *r, const struct task *t)
{
	return &r->husks[t->index];
}

/* The husk of a task, if it is there; ctx is a struct restore. */
struct husk *restore_find_husk(void *ctx, const struct task *t);
/* ---- answers.c: file systems with files of the images answer within --timeout ---- */
int restore_await_answers(void *ctx, struct err *err);

int restore_pids(void *ctx, struct err *err);
int restore_forest(void *ctx, struct err *err);
void restore_kill(void *ctx);
int restore_descriptors(void *ctx, struct err *err);
int restore_tasks(void *ctx, struct err *err);
int restore_threads(void *ctx, struct err *err);
int restore_facets(void *ctx, struct err *err);
int restore_arm(void *ctx, struct err *err);

/* Pages that only children share are kept together, unless pages are not read at all. */
static inline struct mm_legacies *restore_legacies(const struct restore *r)
{
	return r->o->lazy_pages || r->o->mmap ? NULL : r->legacies;
}

/* ---- lazy.c ---- */
bool restore_is_lazy(const void *ctx);
int restore_find_daemon(void *ctx, struct err *err);
void restore_forget_daemon(void *ctx);
int restore_hand_over(void *ctx, struct err *err);
/* Everything is done: the daemon may bring what nobody asks for. */
int restore_tell_all_run(struct restore *rs, struct err *err) must_use;

/* Takes the pidfile back. */
void restore_disarm(void *ctx);
/* Before anything is created: no packet may find a connection's socket missing. */
int restore_lock_network(void *ctx, struct err *err);
void restore_unlock_network(void *ctx);
/* Connections end their repair, while the network is locked; undone by silencing them again. */
int restore_wake(void *ctx, struct err *err);
void restore_silence(void *ctx);
/* From now on all tasks run on should torpor die; undone: they end then. */
int restore_free(void *ctx, struct err *err);
void restore_unfree(void *ctx);
/*
 * Unlocks for good. Where that fails it is locked again; once done it should not be undone: peers
 * have heard of what the images do not know.
 */
int restore_open_network(void *ctx, struct err *err);
void restore_close_network(void *ctx);
/* Lets all tasks go; cannot fail and cannot be taken back. */
void restore_depart(struct restore *rs);
