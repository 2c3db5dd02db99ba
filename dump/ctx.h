/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the stages of a dump share. One exists per run; stages fill it in order. */
#pragma once
#include "dump/dump.h"
#include "inject/tracee.h"
#include "kinds/collect.h"
#include "kinds/mem/mm.h"
#include "model/world.h"
#include "names/netlock.h"
#include "pages/keeper.h"
#include "pages/parent.h"

/* One process of the target, beside its struct task of the same index. */
struct subject {
	pid_t pid, ppid; /* as this host calls them */
	bool zombie, leader_dead;
	bool gone; /* ended and was reaped while the tree was being stopped */
	struct tracee *tracees; /* live threads only; the leader first unless it is dead */
	size_t n_tracees;
	struct task *task;
	uint64_t start; /* when it began: clock ticks since boot */
	struct mm_before before; /* filled by dump_track() */
	struct mm_pages *pages; /* filled by dump_pick() */
};

struct subjects vec_of(struct subject);

/* What a dump does about tracking memory (track.c). */
struct tracking {
	const struct tracker *tracker; /* NULL: none */
	bool again; /* memory is tracked from this dump on */
	bool link_made;
	struct page_parent *parent; /* NULL: there are no previous images */
	struct table parent_tasks; /* pid -> its place in parent->tracker->tasks */
	struct keeper keeper; /* started here */
	struct kept kept; /* the one whose tracking began with the parent images */
	bool handed_over;
	uint32_t effect; /* the keeper in the journal */
};

/* What outlives one try of a dump: it can be had only once. */
struct dump_lasting {
	struct image_access access; /* keys that came by a descriptor */
	struct image_stream *stream; /* nothing was sent to it yet; NULL: none */
	struct page_client *client; /* the same */
	int listening; /* of dump --lazy-pages; -1 */
};

struct dump {
	const struct options *o;
	int images_dirfd, workdir_fd;
	struct dump_lasting *lasting;
	struct image_set *images;
	struct world *world;
	struct file_collector *files;
	struct subjects subjects; /* depth first, the root first */
	struct table seen; /* threads and processes met while seizing */
	struct seize_guard *guard; /* only while seizing */
	unsigned patience_ms; /* how long a thread in vfork is waited for while others are held */
	size_t n_threads;
	struct tracking track;
	uint64_t lazy_given; /* pages that somebody has fetched */
	struct page_client *client; /* pages go there; NULL: into the set */
	struct page_staging *staging; /* pages wait there for their filters; NULL: they do not */
	struct page_stats pages;
	uint32_t next_pages_id;
	uint64_t start_us, seized_us, frozen_us; /* clock_us() when it began, all stopped; length */
	bool released;
	struct netlock lock;
	struct dump_figures *figures;
};

/* The live thread of a subject through which its process is asked; NULL for zombies. */
static inline struct tracee *subject_voice(const struct subject *s)
{
	return s->n_tracees ? &s->tracees[0] : NULL;
}

/* Key of dump.seen for a process of the tree. */
static inline uint64_t seen_process(pid_t pid)
{
	return (uint64_t)pid | 1ull << 32;
}

/* Stages, one file each. */
int dump_open(void *ctx, struct err *err);
void dump_discard(void *ctx);
/* clock_us() when --timeout ends, one for all tasks together. */
uint64_t dump_deadline(const struct dump *d);
int dump_seize(void *ctx, struct err *err);
void dump_unseize(void *ctx);
int dump_tree(void *ctx, struct err *err);
int dump_identity(void *ctx, struct err *err);
/* ---- answers.c, after identity: nobody would let us hang; the second is a part of the first ---- */
int dump_await_answers(void *ctx, struct err *err);
int dump_await_file_systems(struct dump *d, struct err *err) must_use;
/* The sentence for what far_hangs() (base/far.h) tells. */
int dump_refuse_hanging(struct dump *d, struct err *err) must_use;
int dump_survey(void *ctx, struct err *err);
int dump_look(void *ctx, struct err *err);
int dump_interview(void *ctx, struct err *err);
int dump_filters(void *ctx, struct err *err);
int dump_descriptors(void *ctx, struct err *err);
void dump_forget_descriptors(void *ctx);
int dump_memory(void *ctx, struct err *err);
bool dump_is_staged(const void *ctx);
int dump_encode(void *ctx, struct err *err);
int dump_lock_network(void *ctx, struct err *err);
void dump_unlock_network(void *ctx);
int dump_connections(void *ctx, struct err *err);
/* The connections are as they were, or gone with their tasks. */
void dump_forget_connections(void *ctx);
/* Before the tasks are killed: their sockets will close without a word to the peer. */
void dump_silence_connections(struct dump *d);
int dump_commit_set(void *ctx, struct err *err);
int dump_resume(void *ctx, struct err *err);
void dump_release(struct dump *d);
/* Tasks whose images are not to be used: they run on, or stay stopped. */
void dump_let_go(struct dump *d, bool stopped);

/* ---- lazy.c ---- */
bool lazy_is_wanted(const void *ctx);
int lazy_listen(void *ctx, struct err *err);
/* After the set is valid: gives pages away until nobody needs more. 1, or an error. */
int lazy_serve(struct dump *d, struct err *err) must_use;

/* ---- vfork.c ---- */
/*
 * If thread tid, which does not stop, waits in vfork: -EDEADLK and a sentence that says for whom.
 * Else 0.
 */
int vfork_refuse(pid_t pid, pid_t tid, struct err *err) must_use;

/* ---- server.c ---- */
bool dump_uses_server(const void *ctx);
int dump_connect(void *ctx, struct err *err);
void dump_disconnect(void *ctx);
/* All pages are sent: the server has to say that it has them. */
int dump_confirm(void *ctx, struct err *err);

/* ---- content.c ---- */
int dump_pick(void *ctx, struct err *err);
/* runs_on: the tasks run meanwhile. */
int dump_save_pages(struct dump *d, bool runs_on, struct err *err) must_use;

/* ---- track.c, keep.c ---- */
/* Before anything is stopped: previous images, tracker, keeper. */
int track_prepare(void *ctx, struct err *err);
void track_unprepare(void *ctx);
/* Areas are known: what is known of each task, descriptors for those that shall be tracked. */
int track_tasks(void *ctx, struct err *err);
/* Everything is saved: the keeper takes over, and the images tell about it. */
int track_keep(void *ctx, struct err *err);
void track_unkeep(void *ctx);
bool track_is_wanted(const void *ctx);
bool track_needs_keeper(const struct dump *d);
/* The keeper of the previous images is gone: their journal need not tell of it any more. */
void track_forget_parents(struct dump *d);
void track_done(struct dump *d);
/* run_id is NULL when there is nothing to do with digests. */
struct digest_plan track_digests(const struct dump *d, bool shared);
/* Uptime in microseconds, for the inventory. */
int track_uptime(uint64_t *ret, struct err *err) must_use;

/* ---- stages.c ---- */
/* Runs the stages and then finish (what cannot be undone); fills in ret. */
void dump_lasting_init(struct dump_lasting *l, const struct options *o);
void dump_lasting_done(struct dump_lasting *l);
int dump_run_stages(const char *name, const struct stage *stages, struct dump *d,
	int (*finish)(struct dump *d, struct err *err), stage_watch *watch, void *watch_data,
	struct dump_figures *ret, struct err *err) must_use;
