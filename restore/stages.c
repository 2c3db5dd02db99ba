// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A restore, from top to bottom. Every task is held by ptrace, with EXITKILL until nothing more can
 * go wrong in it, so a failure (or torpor's death) leaves nothing of them; then they are let go, which
 * cannot fail. Once the network may be unlocked their end would be seen by peers: should torpor die
 * then, they run.
 *
 *   load      the image set becomes a world
 *   check     the same rules as before saving
 *   pages     every page can be found, in these images or their parents
 *   daemon    with --lazy-pages: who brings memory later
 *   answers   file systems which may hang do not
 *   plan      who creates whom; a hole that is free in every address space
 *   pids      all of them must be free, before anything is created
 *   netlock   no packet of a connection passes while its socket is not there
 *   ipc       System V objects
 *   forest    husks: pids, sessions, groups, memory, zombies
 *   tasks     what belongs to a process as a whole
 *   lazy      the daemon gets hold of all address spaces
 *   threads   all threads exist, before the first one loses its privileges or gets a filter
 *   files     descriptors, folders; they may refer to processes and threads
 *   facets    what belongs to each thread
 *   arm       scratch memory goes, registers are set, the pidfile is written
 *   wake      connections end their repair; they may speak, but nobody hears them yet
 *   free      torpor's death is no longer theirs
 *   network   the network is unlocked
 */
#include "base/forsake.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include "kinds/mem/mm.h"
#include "names/leftovers.h"
#include "pages/dedup.h"
#include "pages/filter.h"
#include "pages/source.h"
#include "restore/ctx.h"
#include "snapshot/check.h"
#include "snapshot/snapshot.h"
#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <unistd.h>

enum { KEPT_MEMORY = 64 << 20 };

static int restore_load(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	struct filter_chain *chain;
	int r = image_set_open_with(rs->images_dirfd, false, &rs->access, &rs->images, err);

	/* a filter that cannot be had is named before anything else is looked at */
	if (r == 0)
		r = filter_chain_of(rs->images, &chain, err);
	if (r == 0)
		r = snapshot_load(rs->images, rs->world, err);
	return r;
}

static int restore_check(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	struct findings f = { 0 };
	const struct finding *bad;
	int r = 0;

	snapshot_check(rs->world, &f);
	bad = findings_error(&f);
	if (bad)
		r = err_image(err, "%s (rule %s)", bad->text, bad->rule);
	vec_done(&f);
	return r;
}

static int restore_plan(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	int r = plan_make(rs->world, rs->o, &rs->plan, err);

	if (r == 0)
		r = mm_find_hole(rs->world, HUSK_AREA_LEN, &rs->layout.area, err);
	/* once: our own map has an entry for every pages file that children share with parents */
	if (r == 0)
		r = vdso_look_self(&rs->vdso, err);
	if (r < 0)
		return r;
	rs->layout.patience_s = options_peer_patience(rs->o);
	rs->huge_always = mm_huge_is_always();
	rs->n_husks = rs->plan.n_actors;
	rs->husks = arena_array(rs->world->arena, rs->n_husks, sizeof(*rs->husks));
	rs->husk_lives = arena_array(rs->world->arena, rs->n_husks, sizeof(bool));
	rs->filled = arena_array(rs->world->arena, rs->n_husks, sizeof(bool));
	for (size_t i = 0; i < rs->n_husks; i++)
		rs->husks[i].mem = -1;
	rs->files = file_store_new(rs->world, rs->images, rs->o);
	file_store_set_husks(rs->files, restore_find_husk, rs);
	rs->legacies = mm_legacies_new();
	return 0;
}

/* The pages of one task or object, in this set and its parents. */
static int find_pages(struct restore *rs, enum image_id type, unsigned long id, struct err *err)
{
	struct page_source source;
	int r = page_source_open_some(rs->images, type, id,
		rs->o->lazy_pages ? PAGES_EAGER : PAGES_ALL, &source, err);

	if (r == 0)
		page_source_close(&source);
	return r;
}

static int restore_pages(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	const struct entry_list *shared = &rs->world->entries[IMG_MEMFD_INODE];
	int r = 0;

	world_each_task(t, rs->world)
		if (r == 0 && task_is_alive(t))
			r = find_pages(rs, IMG_PAGEMAP, (unsigned long)t->pid, err);
	for (size_t i = 0; i < shared->n && r == 0; i++) {
		const MemfdInodeEntry *e = shared->at[i]->msg;

		r = find_pages(rs, IMG_PAGEMAP_SHMEM, e->shmid, err);
	}
	return r;
}

/* A stop costs a fifth when tracer and tracee share a processor (no wake-up of another one). */
static int restore_pin(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	cpu_set_t one;
	int cpu = sched_getcpu();

	if (sched_getaffinity(0, sizeof(rs->cpus), &rs->cpus) < 0 || cpu < 0)
		return err_sys(err, "cannot read torpor's own processor mask");
	rs->access.cpus = &rs->cpus;
	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
	return 0;
}

static void restore_unpin(void *ctx)
{
	struct restore *rs = ctx;

	sched_setaffinity(0, sizeof(rs->cpus), &rs->cpus);
}

static int restore_ipc(void *ctx, struct err *err)
{
	struct restore *rs = ctx;

	return sysv_make(rs->world, rs->images, &rs->ipc, err);
}

static void restore_forget_ipc(void *ctx)
{
	struct restore *rs = ctx;

	sysv_undo(rs->ipc);
}

static const struct stage restore_stages[] = {
	{ .name = "load", .run = restore_load },
	{ .name = "check", .run = restore_check },
	{ .name = "pages", .run = restore_pages },
	{ .name = "daemon", .run = restore_find_daemon, .undo = restore_forget_daemon,
		.wanted = restore_is_lazy },
	{ .name = "answers", .run = restore_await_answers },
	{ .name = "plan", .run = restore_plan },
	{ .name = "pids", .run = restore_pids },
	{ .name = "netlock", .run = restore_lock_network, .undo = restore_unlock_network },
	{ .name = "ipc", .run = restore_ipc, .undo = restore_forget_ipc },
	{ .name = "pin", .run = restore_pin, .undo = restore_unpin },
	{ .name = "forest", .run = restore_forest, .undo = restore_kill },
	{ .name = "tasks", .run = restore_tasks },
	{ .name = "lazy", .run = restore_hand_over, .wanted = restore_is_lazy },
	{ .name = "threads", .run = restore_threads },
	{ .name = "files", .run = restore_descriptors },
	{ .name = "facets", .run = restore_facets },
	{ .name = "arm", .run = restore_arm, .undo = restore_disarm },
	{ .name = "wake", .run = restore_wake, .undo = restore_silence },
	{ .name = "free", .run = restore_free, .undo = restore_unfree },
	{ .name = "network", .run = restore_open_network, .undo = restore_close_network },
	{ .name = NULL },
};

/* Frees the images of memory, which is where it belongs now. */
static void restore_dedup(struct restore *rs)
{
	const struct entry_list *shared = &rs->world->entries[IMG_MEMFD_INODE];
	struct err err = ERR_INIT;
	char text[sizeof(err.text) + sizeof(err.trail)];
	uint64_t bytes, sum = 0;
	int r = 0;

	world_each_task(t, rs->world) {
		if (r < 0 || !task_is_alive(t))
			continue;
		r = dedup_used(rs->images, IMG_PAGEMAP, (unsigned long)t->pid, &bytes, &err);
		sum += bytes;
	}
	for (size_t i = 0; i < shared->n && r == 0; i++) {
		const MemfdInodeEntry *e = shared->at[i]->msg;

		r = dedup_used(rs->images, IMG_PAGEMAP_SHMEM, e->shmid, &bytes, &err);
		sum += bytes;
	}
	if (r < 0)
		log_warn("not all images of memory are free: %s", err_text(&err, text, sizeof(text)));
	log_info("%lu bytes of images are free", (unsigned long)sum);
}

/* The tasks run; if the daemon has gone, they wait for their memory for ever. */
static void tell_daemon(struct restore *rs)
{
	struct err err = ERR_INIT;

	if (restore_tell_all_run(rs, &err) < 0)
		log_error("%s", err.text);
	restore_forget_daemon(rs);
}

static void count(const struct world *w, struct restore_figures *f)
{
	f->tasks = w->n_tasks;
	world_each_task(t, w)
		f->threads += task_is_alive(t) ? t->n_threads : 0;
}

int restore_run(const struct options *o, int images_dirfd, int workdir_fd, stage_watch *watch,
	void *watch_data, struct restore_figures *ret, struct err *err)
{
	struct restore rs = { .o = o, .images_dirfd = images_dirfd, .workdir_fd = workdir_fd,
		.access = access_open(o), .world = world_new(),
		.lazy_sock = -1, .figures = ret, .start_us = clock_us() };
	int r;

	*ret = (struct restore_figures){ 0 };
	/* builds come and go by the dozen: memory is not given back and faulted in each time */
	mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY);
	mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY / 2);
	r = stages_run("restore", restore_stages, &rs, watch, watch_data, err);
	husk_queue_done(&rs.queue);
	if (r == 0) {
		restore_depart(&rs);
		if (o->lazy_pages)
			tell_daemon(&rs);
		interrupt_unwatch();
		if (o->auto_dedup)
			restore_dedup(&rs);
		count(rs.world, ret);
		file_store_complete(rs.files);
	}
	ret->total_us = clock_us() - rs.start_us;
	/* to close what lies on a file system that hangs would hang, too */
	if (r == -ETIMEDOUT || rs.hangs)
		forsake_descriptors();
	else if (rs.files)
		file_store_free(rs.files);
	if (r == 0)
		leftovers_take_back(rs.images, rs.world->inventory->dump_criu_run_id);
	mm_legacies_free(rs.legacies);
	sysv_done(rs.ipc);
	vec_done(&rs.flows);
	table_done(&rs.ours);
	husk_layout_done(&rs.layout);
	image_set_close(rs.images);
	access_close(&rs.access);
	world_free(rs.world);
	return r;
}
