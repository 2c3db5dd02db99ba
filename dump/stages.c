// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A dump, from top to bottom. Everything until "commit" can be taken back: the images are removed
 * and the target runs on. "commit" makes the set valid; only then is the target killed.
 *
 *   open       an empty image set (a stale inventory disappears when the first file is written)
 *   parent     previous images and tracker, where changes are to be saved or tracked
 *   server     the connection for pages, where they do not go into the set
 *   seize      every thread of the tree is stopped by ptrace
 *   identity   who is who: sessions, sharing, namespaces
 *   answers    file systems that may hang do not, nor is a control group frozen
 *   survey     address spaces, before anything is mapped into them
 *   track      what is known of each task's memory since the previous images
 *   look       what /proc and ptrace tell of each thread
 *   interview  what only the tasks themselves can tell: tapes
 *   filters    what page filters learn from, before the first page goes through them
 *   files      descriptors, directories
 *   netlock    no packet of a connection that is kept passes any more
 *   streams    what these connections hold
 *   memory     pages
 *   check      we do not write what could not be restored
 *   save       all images but the inventory
 *   resume     tasks that run on do so now, where their pages wait for filters ...
 *   encode     ... and the pages go through them
 *   keep       the tracker process takes over
 *   commit     the inventory, on disk
 *   release    kill, leave stopped, or run on
 */
#include "base/far.h"
#include "base/forsake.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include "dump/ctx.h"
#include "image/stream.h"
#include "pages/client.h"
#include "pages/dedup.h"
#include "pages/filter.h"
#include "pages/staging.h"
#include "snapshot/check.h"
#include "snapshot/snapshot.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * Pauses between tries: each is twice the last up to the longest, a second in all. Who sends all the
 * time on a busy machine has something on its way at half of the tries, so there are many.
 */
enum { BUSY_FIRST_US = 4000, BUSY_LONGEST_US = 64000, BUSY_ALL_US = 1000000 };

int dump_open(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = image_set_open_with(d->images_dirfd, true, &d->lasting->access, &d->images, err);

	if (r == 0)
		r = filter_prepare(d->images, d->o, err);
	if (r == 0)
		d->files = file_collector_new(d->world, d->images, d->o);
	return r;
}

void dump_discard(void *ctx)
{
	struct dump *d = ctx;

	if (d->images)
		image_set_discard(d->images);
}

static int dump_check_world(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	struct findings f = { 0 };
	const struct finding *bad;
	int r = 0;

	/* who only wanted to know whether a file is there may have gone on */
	if (far_hangs())
		return dump_refuse_hanging(d, err);
	snapshot_check(d->world, &f);
	bad = findings_error(&f);
	if (bad)
		r = err_unsupported(err, "%s (rule %s)", bad->text, bad->rule);
	vec_done(&f);
	return r;
}

static int dump_save_world(void *ctx, struct err *err)
{
	struct dump *d = ctx;

	return snapshot_save(d->world, d->images, err);
}

int dump_commit_set(void *ctx, struct err *err)
{
	struct dump *d = ctx;

	return image_set_commit(d->images, d->world->inventory, err);
}

static const struct stage dump_stages[] = {
	{ .name = "open", .run = dump_open, .undo = dump_discard },
	{ .name = "parent", .run = track_prepare, .undo = track_unprepare,
		.wanted = track_is_wanted },
	{ .name = "server", .run = dump_connect, .undo = dump_disconnect,
		.wanted = dump_uses_server },
	{ .name = "listen", .run = lazy_listen, .wanted = lazy_is_wanted },
	{ .name = "seize", .run = dump_seize, .undo = dump_unseize },
	{ .name = "identity", .run = dump_identity },
	{ .name = "answers", .run = dump_await_answers },
	{ .name = "survey", .run = dump_survey },
	{ .name = "track", .run = track_tasks },
	{ .name = "look", .run = dump_look },
	{ .name = "interview", .run = dump_interview },
	{ .name = "filters", .run = dump_filters },
	{ .name = "files", .run = dump_descriptors, .undo = dump_forget_descriptors },
	{ .name = "netlock", .run = dump_lock_network, .undo = dump_unlock_network },
	{ .name = "streams", .run = dump_connections, .undo = dump_forget_connections },
	{ .name = "memory", .run = dump_memory },
	{ .name = "confirm", .run = dump_confirm, .wanted = dump_uses_server },
	{ .name = "check", .run = dump_check_world },
	{ .name = "save", .run = dump_save_world },
	{ .name = "resume", .run = dump_resume, .wanted = dump_is_staged },
	{ .name = "encode", .run = dump_encode, .wanted = dump_is_staged },
	{ .name = "keep", .run = track_keep, .undo = track_unkeep, .wanted = track_is_wanted },
	{ .name = "commit", .run = dump_commit_set },
	{ .name = NULL },
};

static void subjects_done(struct dump *d)
{
	vec_each(s, &d->subjects) {
		free(s->tracees);
		mm_pages_free(s->pages);
	}
	vec_done(&d->subjects);
	table_done(&d->seen);
}

static void dump_done(struct dump *d)
{
	if (d->files)
		file_collector_free(d->files);
	far_end();
	/* what was not closed there is not to be closed by our end */
	if (far_hangs())
		forsake_descriptors();
	page_staging_free(d->staging);
	image_set_close(d->images);
	track_done(d);
	subjects_done(d);
	world_free(d->world);
}

static void fill_figures(struct dump *d, struct dump_figures *f)
{
	f->tasks = d->world->n_tasks;
	f->threads = d->n_threads;
	f->image_bytes = image_set_bytes(d->images);
	f->pages = d->pages;
	f->freezing_us = d->seized_us - d->start_us;
	f->frozen_us = d->frozen_us;
	f->total_us = clock_us() - d->start_us;
}

/* The dump is complete; that older images take more room than they could is no failure of it. */
static void dump_dedup(struct dump *d)
{
	struct err err = ERR_INIT;
	char text[sizeof(err.text) + sizeof(err.trail)];
	uint64_t bytes;

	if (dedup_parents(d->images, false, &bytes, &err) < 0)
		log_warn("older images keep what is replaced now: %s",
			err_text(&err, text, sizeof(text)));
	else
		log_info("%lu bytes of older images are free", (unsigned long)bytes);
}

int dump_run_stages(const char *name, const struct stage *stages, struct dump *d,
	int (*finish)(struct dump *d, struct err *err), stage_watch *watch, void *watch_data,
	struct dump_figures *ret, struct err *err)
{
	int r;

	d->world = world_new();
	d->next_pages_id = 1;
	d->start_us = clock_us();
	d->track.keeper.sock = d->track.kept.pidfd = -1;
	r = stages_run(name, stages, d, watch, watch_data, err);
	if (r < 0 && far_hangs()) {
		err_clear(err);
		r = interrupt_check(err);
		r = r < 0 ? r : dump_refuse_hanging(d, err);
	}
	/* the set is valid now: letting go is not undone */
	if (r == 0) {
		r = finish(d, err);
		interrupt_unwatch();
	}
	if (r == 0)
		fill_figures(d, ret);
	if (r == 0 && d->o->auto_dedup && d->track.parent)
		dump_dedup(d);
	dump_done(d);
	return r;
}

static int dump_finish(struct dump *d, struct err *err)
{
	int r = 0;

	if (d->o->lazy_pages) {
		interrupt_unwatch(); /* for as long as others like, a signal ends it */
		r = lazy_serve(d, err);
		interrupt_watch();
		interrupt_hold();
	}
	if (r < 0) {
		dump_let_go(d, d->lazy_given > 0);
		return r;
	}
	dump_release(d);
	return 0;
}

void dump_lasting_init(struct dump_lasting *l, const struct options *o)
{
	*l = (struct dump_lasting){ .access = access_open(o), .listening = -1 };
	l->access.idle_stream = &l->stream;
}

void dump_lasting_done(struct dump_lasting *l)
{
	access_close(&l->access);
	image_stream_free(l->stream);
	page_client_drop(l->client);
	if (l->listening >= 0)
		close(l->listening);
}

/* Whether another try has all that this one had. */
static bool can_try_again(const struct dump_lasting *l, const struct options *o)
{
	return (!l->access.streamed || l->stream) && (!o->page_server || l->client);
}

/*
 * What is only on its way (bytes in a connection that nobody has accepted yet, an answer nobody has
 * read) is given time to arrive: everything was taken back, the tasks run, the dump begins again.
 */
static int run_until_settled(const struct options *o, int images_dirfd, int workdir_fd,
	struct dump_lasting *lasting, stage_watch *watch, void *watch_data,
	struct dump_figures *ret, struct err *err)
{
	bool lives = o->leave_running || o->leave_stopped;
	char text[sizeof(err->text) + sizeof(err->trail)];
	uint64_t pause = BUSY_FIRST_US, paused = 0;

	for (;;) {
		struct dump d = { .o = o, .images_dirfd = images_dirfd, .workdir_fd = workdir_fd,
			.lasting = lasting, .track = { .again = o->track_mem && lives } };
		int r = dump_run_stages("dump", dump_stages, &d, dump_finish, watch, watch_data, ret,
			err);

		if (r == 0 || !err_is_busy(err) || paused > BUSY_ALL_US ||
			!can_try_again(lasting, o))
			return r;
		log_info("%s: trying again", err_text(err, text, sizeof(text)));
		err_clear(err);
		nanosleep(&(struct timespec){ .tv_nsec = (long)pause * 1000 }, NULL);
		paused += pause;
		if (pause < BUSY_LONGEST_US)
			pause *= 2;
	}
}

int dump_run(const struct options *o, int images_dirfd, int workdir_fd, stage_watch *watch,
	void *watch_data, struct dump_figures *ret, struct err *err)
{
	struct dump_lasting lasting;
	int r;

	dump_lasting_init(&lasting, o);
	r = run_until_settled(o, images_dirfd, workdir_fd, &lasting, watch, watch_data, ret, err);
	dump_lasting_done(&lasting);
	return r;
}
