/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address spaces: how they are seen (dump) and built (restore).
 */
#pragma once
#include "kernel/vdso.h"
#include "kinds/collect.h"
#include "inject/husk.h"
#include "pages/digest.h"
#include "pages/tracker.h"
#include "kinds/store.h"
#include "pages/filter.h"

/* ---- dump ---- */
/*
 * Fills task->mm (areas, prctl_mm_map members, auxv, exe, thp_disabled) and the areas of
 * task->extra from /proc/TID and smaps. Mapped files get entries by the collector. Areas that
 * cannot be saved are refused with a sentence naming task, range and object.
 */
int mm_look(struct world *w, struct task *t, pid_t tid, struct file_collector *files,
	const struct options *o, struct err *err) must_use;
/*
 * The same for a dump of memory only: no more than the areas that hold pages (task->mm has nothing
 * else), and shared memory for the collector. Nothing is refused.
 */
int mm_look_memory(struct world *w, struct task *t, pid_t tid, struct file_collector *files,
	struct err *err) must_use;

/* How the memory of a stopped task is compared with what was saved of it before. */
struct mm_before {
	const struct pagemap *parent; /* its pagemap in the parent images, NULL: there is none */
	const struct tracker *tracker; /* NULL: none */
	int uffd; /* for the tracker; -1 */
	bool known; /* tracked without a gap since the parent images were made */
	bool again; /* tracking starts anew with this dump */
	bool leave_lazy; /* pages that may come later are only told */
};

/* Which pages of a task are saved, and how they are read. */
struct mm_pages;
/*
 * Finds them, by areas of task->mm: every page of private areas that the mapping itself would not
 * give back. before may be NULL. With before->again, everything that is written from now on will
 * show in the next dump.
 */
int mm_pages_pick(struct world *w, struct task *t, pid_t tid, const struct mm_before *before,
	struct mm_pages **ret, struct err *err) must_use;
/*
 * Writes pagemap-PID.img and its pages file. `runs_on`: the task runs again and what has disappeared
 * is left out. digests may be NULL. Never breaks copy-on-write sharing of the target (KERNEL:
 * process_vm_readv un-shares pages with pagemap bit 56 = 0, so those are read through /proc/PID/mem).
 */
int mm_pages_save(const struct mm_pages *p, bool runs_on, struct image_set *images,
	uint32_t pages_id, const struct digest_plan *digests, struct page_stats *stats,
	struct err *err) must_use;
void mm_pages_free(struct mm_pages *p); /* NULL is fine */
/* Bytes that saving them will read. */
uint64_t mm_pages_bytes(const struct mm_pages *p);
/* The same of mm_dump_shared(), roughly. */
uint64_t mm_shared_bytes(const struct file_collector *files);
/* Both in one. */
int mm_dump_pages(struct world *w, struct task *t, pid_t tid, struct image_set *images,
	uint32_t pages_id, struct page_stats *stats, struct err *err) must_use;
/*
 * Contents of the shared objects (shared anonymous memory, memfd) that were met, each once. digests
 * may be NULL.
 */
int mm_dump_shared(struct file_collector *files, struct image_set *images, uint32_t *next_pages_id,
	const struct digest_plan *digests, struct page_stats *stats, struct err *err) must_use;
/*
 * Samples for filters that learn: first look at every task, then take them for the chain of the set,
 * before any page is saved.
 */
struct mm_samples;
struct mm_samples *mm_samples_new(void);
void mm_samples_free(struct mm_samples *s);
int mm_samples_look(struct mm_samples *s, const struct task *t, pid_t tid, struct err *err) must_use;
int mm_samples_take(struct mm_samples *s, struct filter_chain *chain, struct err *err) must_use;
/* The end of brk, which only the task itself can tell, and its THP flag. */
extern const struct facet facet_mm;

/* ---- restore ---- */
/*
 * What parents keep from mm_build() to mm_finish() for the tasks forked from them in between, so
 * that pages which only the children share stay shared. One per restore.
 */
struct mm_legacies;
struct mm_legacies *mm_legacies_new(void);
void mm_legacies_free(struct mm_legacies *l); /* NULL is fine */

struct mm_build {
	struct world *world;
	const struct task *task;
	const struct task *inherited; /* the husk is a fork of this task's filled husk, or NULL */
	struct husk *husk;
	struct image_set *images;
	struct file_store *files;
	struct mm_legacies *legacies; /* NULL: every parent forks with its own pages */
	bool lazy; /* pages that may come later are left out */
	bool mapped; /* long runs of pages are mapped from the images, not read */
	const struct vdso_self *vdso; /* this kernel's; NULL: it is looked for each time */
	const bool *huge_always; /* mm_huge_is_always(); NULL: it is looked for each time */
	uint64_t pages_restored, pages_compared, pages_skipped_cow; /* counted up */
	size_t borrowed; /* set: descriptors of the store that are needed until it is settled */
};

/* Chooses the area of all husks: a range of len bytes outside every area of every task. */
int mm_find_hole(const struct world *w, size_t len, uint64_t *ret_addr, struct err *err) must_use;
/*
 * From a husk with nothing but the area (or an inherited address space) to the task's address
 * space: maps, contents, protections, vdso in place, brk and the other prctl_mm_map members, exe
 * link. Contents equal to the inherited ones are not written (they stay shared).
 */
int mm_build(struct mm_build *b, struct err *err) must_use;
/*
 * The same, done when the queue is settled; *b must live so long, and no more than STORE_RECENT / 2
 * descriptors may be borrowed when it is called.
 */
int mm_build_later(struct mm_build *b, struct husk_queue *q, struct err *err) must_use;
/*
 * After all forks: the parent's own pages where its children had others in common, and what must
 * not be inherited or needs the final state: mlock, madvise, guards, seals.
 */
int mm_finish(struct mm_build *b, struct err *err) must_use;
/* Whether this machine gives huge pages to every area (transparent_hugepage/enabled). */
bool mm_huge_is_always(void);
/* Whether child's address space is worth starting as a fork of its parent's. */
bool mm_inherits(const struct task *child, const struct task *parent);
