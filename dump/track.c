// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Increments: previous images, the tracker that tells what has changed since them, and the tracker
 * process (pages/keeper.h) that lets the next dump be told, too.
 *
 *   prepare  previous images are opened, a tracker is chosen, a keeper is started
 *   tasks    the tree is stopped and its areas are known: whose changes are known since the previous
 *            images? From here on, if tracking is to start anew, the old keeper is gone: the previous
 *            images cannot be used by another dump, also if this one fails. It then saves all.
 *   keep     the new keeper takes the descriptors over (keep.c)
 *
 * Whatever is not certain is answered by "not known": then memory is saved whole, and why is logged.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "dump/ctx.h"
#include "inject/userfault.h"
#include "kernel/userfault.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

bool track_is_wanted(const void *ctx)
{
	const struct dump *d = ctx;

	return d->track.again || d->o->prev_images_dir;
}

/* ---- prepare ---- */

/* The tracker named, that of the previous images if it still works, or the best one. */
static int choose_tracker(struct dump *d, struct err *err)
{
	const struct page_parent *p = d->track.parent;
	const char *name = d->o->tracker;
	struct err ignored = ERR_INIT;

	if (strcmp(name, "auto") != 0)
		return tracker_choose(name, &d->track.tracker, err);
	if (p && p->tracker && tracker_of_name(p->tracker->tracker) &&
		tracker_choose(p->tracker->tracker, &d->track.tracker, &ignored) == 0)
		return 0;
	return tracker_choose(NULL, &d->track.tracker, err);
}

bool track_needs_keeper(const struct dump *d)
{
	return d->track.again && d->track.tracker->id != TRACK_HASH;
}

static int find_kept(struct dump *d, struct err *err)
{
	const struct page_parent *p = d->track.parent;
	int r = 0;

	if (!p || !p->tracker)
		return 0;
	for (size_t i = 0; i < p->tracker->n_tasks; i++)
		table_put(&d->track.parent_tasks, p->tracker->tasks[i]->pid, &p->tracker->tasks[i]);
	r = keeper_of_set(p->tracker, &d->track.kept, err);
	return r < 0 ? r : 0;
}

int track_prepare(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = 0;

	if (d->o->prev_images_dir) {
		r = parent_link_make(d->images_dirfd, d->o->prev_images_dir, &d->track.link_made, err);
		if (r == 0)
			r = parent_open(d->images, &d->track.parent, err);
		if (r == 0 && d->track.parent)
			r = image_set_follow(d->images, d->track.parent->set, err);
	}
	if (r == 0)
		r = choose_tracker(d, err);
	if (r == 0)
		r = find_kept(d, err);
	if (r == 0 && track_needs_keeper(d))
		r = keeper_start(&d->track.keeper, err);
	if (r == 0)
		log_info("memory changes are told by %s", d->track.tracker->name);
	return r;
}

void track_unprepare(void *ctx)
{
	struct dump *d = ctx;

	if (d->track.link_made)
		unlinkat(d->images_dirfd, PARENT_LINK, 0);
	d->track.link_made = false;
}

void track_done(struct dump *d)
{
	vec_each(s, &d->subjects)
		if (s->before.uffd >= 0)
			close(s->before.uffd);
	keeper_drop(&d->track.keeper);
	kept_done(&d->track.kept);
	parent_close(d->track.parent);
	table_done(&d->track.parent_tasks);
}

/* ---- tasks ---- */

/*
 * Images of others tell no tracker; they leave it to soft-dirty bits, and only know that a task which
 * began after they were made is another one. While a keeper lives, somebody else has restarted them.
 */
static bool known_by_uptime(const struct dump *d, const struct subject *s)
{
	const InventoryEntry *inv = d->track.parent->inventory;
	uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);

	return d->track.tracker->id == TRACK_SOFT_DIRTY && inv->has_dump_uptime &&
		s->start * 1000000 / hz < inv->dump_uptime && d->track.kept.pidfd < 0;
}

/* Whether the keeper has this very task, and its number there. */
static bool find_tracked(const struct dump *d, const struct subject *s, size_t *ret)
{
	TorporTrackedTask *const *slot = table_get(&d->track.parent_tasks, (uint64_t)s->pid);

	if (!slot || (*slot)->start != s->start)
		return false;
	*ret = (size_t)(slot - d->track.parent->tracker->tasks);
	return true;
}

/* Whether all writes of this task since the previous images are known; takes its descriptor. */
static int learn_known(struct dump *d, struct subject *s, struct err *err)
{
	const struct page_parent *p = d->track.parent;
	size_t index;
	int r;

	if (s->task->written_unseen || !d->track.tracker->ask)
		return 0;
	if (!p->tracker) {
		s->before.known = known_by_uptime(d, s);
		return 0;
	}
	if (d->track.kept.pidfd < 0 || strcmp(p->tracker->tracker, d->track.tracker->name) != 0 ||
		!find_tracked(d, s, &index))
		return 0;
	if (d->track.tracker->id != TRACK_WRITE_PROTECT) {
		s->before.known = true;
		return 0;
	}
	r = keeper_borrow(&d->track.kept, index, &s->before.uffd, err);
	s->before.known = r > 0;
	return r < 0 ? r : 0;
}

static int learn_parent(struct dump *d, struct subject *s, struct err *err)
{
	struct page_parent *p = d->track.parent;
	struct pagemap *map = arena_new_of(p->arena, struct pagemap);
	int r = pagemap_load_told(p->set, IMG_PAGEMAP, (unsigned long)s->task->pid, p->arena, map, err);

	s->before.parent = map;
	return r < 0 ? r : learn_known(d, s, err);
}

/* The program was replaced (execve(2)) since the descriptor was made. */
static bool is_stale(const struct subject *s)
{
	return s->before.uffd >= 0 && !userfault_lives(s->before.uffd);
}

/*
 * A task that cannot be tracked is no failure: it is saved whole, and so it is the next time. One
 * that does not even answer is.
 */
static int begin_write_protect(struct subject *s, unsigned patience_s, struct err *err)
{
	struct err why = ERR_INIT;
	char text[sizeof(why.text) + sizeof(why.trail)];
	int r;

	if (is_stale(s)) {
		close(s->before.uffd);
		s->before.uffd = -1;
		s->before.known = false;
	}
	if (s->before.uffd >= 0)
		return 0;
	r = userfault_from_task(subject_voice(s), patience_s, &s->before.uffd, &why);
	if (r == 0)
		r = userfault_begin_tracking(s->before.uffd, &why);
	if (r == 0)
		return 0;
	if (r == -ETIMEDOUT) {
		*err = why;
		return r;
	}
	log_warn("task %d is not tracked, the next dump saves it whole: %s", s->pid,
		err_text(&why, text, sizeof(text)));
	s->before.again = false;
	if (s->before.uffd >= 0)
		close(s->before.uffd);
	s->before.uffd = -1;
	return 0;
}

static int end_keeper(struct kept *k, struct err *err)
{
	int r = keeper_end(k, err);

	kept_done(k);
	return r;
}

/* Tracking has one beginning: whoever else began it before must not believe in his any more. */
static int end_other_keepers(struct dump *d, struct err *err)
{
	struct kept other;
	bool had_one = d->track.kept.pidfd >= 0;
	int r = had_one ? end_keeper(&d->track.kept, err) : 0;

	if (r == 0 && had_one)
		track_forget_parents(d);
	while (r == 0 && (r = keeper_of_tree(d->subjects.at[0].pid, &other, err)) > 0) {
		log_info("ending the tracking that process %d keeps: it starts anew", other.pid);
		r = end_keeper(&other, err);
	}
	return r;
}

static int begin_tracking(struct dump *d, struct subject *s, struct err *err)
{
	s->before.again = !s->task->written_unseen && d->track.tracker->ask;
	if (s->task->written_unseen)
		log_info("task %d uses asynchronous I/O, whose writes nobody sees: it is saved whole",
			s->pid);
	else if (d->track.tracker->id == TRACK_WRITE_PROTECT)
		return begin_write_protect(s, options_peer_patience(d->o), err);
	return 0;
}

/* Areas that a userfaultfd write-protects are fine if that is our keeper's; others are lost. */
static int check_held(struct dump *d, struct err *err)
{
	const struct subject *held = NULL;
	struct kept k;
	int r;

	vec_each(s, &d->subjects)
		if (!s->zombie && s->task->n_held && !held)
			held = s;
	if (!held || d->track.kept.pidfd >= 0)
		return 0;
	r = keeper_of_tree(d->subjects.at[0].pid, &k, err);
	if (r > 0)
		kept_done(&k);
	if (r != 0)
		return r < 0 ? r : 0;
	return err_unsupported(err, "task %d (%s): the area at 0x%lx is registered with a "
		"userfaultfd, which cannot be saved", held->pid, task_comm(held->task),
		held->task->held[0]);
}

static void say_known(const struct dump *d)
{
	size_t known = 0, alive = 0;

	vec_each(s, &d->subjects) {
		alive += !s->zombie;
		known += s->before.known;
	}
	if (d->track.parent && d->track.tracker->ask && known < alive)
		log_warn("the memory of %zu of %zu tasks is saved whole: it was not tracked by %s since "
			"the previous images", alive - known, alive, d->track.tracker->name);
}

int track_tasks(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = d->o->command == CMD_DUMP ? check_held(d, err) : 0;

	if (r < 0 || !track_is_wanted(d))
		return r;
	vec_each(s, &d->subjects) {
		if (s->zombie)
			continue;
		s->before.tracker = d->track.tracker;
		if (d->track.parent)
			r = learn_parent(d, s, err);
		if (r < 0)
			return err_while(err, "looking at the previous images of task %d", s->pid);
	}
	if (d->track.again)
		r = end_other_keepers(d, err);
	vec_each(s, &d->subjects)
		if (r == 0 && d->track.again && !s->zombie)
			r = begin_tracking(d, s, err);
	say_known(d);
	return r;
}

struct digest_plan track_digests(const struct dump *d, bool shared)
{
	const struct page_parent *p = d->track.parent;
	struct digest_plan plan = { .keep = d->track.again };

	if (!track_is_wanted(d) || (!shared && d->track.tracker->id != TRACK_HASH))
		return plan;
	if (p && p->inventory->dump_criu_run_id) {
		plan.before = p->set;
		plan.before_run_id = p->inventory->dump_criu_run_id;
	}
	if (plan.before || plan.keep)
		plan.run_id = d->world->inventory->dump_criu_run_id;
	return plan;
}
