// SPDX-License-Identifier: GPL-2.0-or-later
/* The end of a dump that tracks: its keeper stands by itself, images and journal tell about it. */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "dump/ctx.h"
#include "image/journal.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

int track_uptime(uint64_t *ret, struct err *err)
{
	auto_free char *text = NULL;
	struct cursor c;
	uint64_t seconds, hundredths;
	int r = io_slurp("/proc/uptime", &text, NULL);

	if (r < 0)
		return err_sysn(err, -r, "cannot read /proc/uptime");
	c = cursor_of(text);
	if (!parse_u64(&c, 10, &seconds) || !parse_lit(&c, ".") ||
		!parse_u64(&c, 10, &hundredths))
		return err_set(err, ERR_KERNEL, EPROTO, "/proc/uptime cannot be understood");
	*ret = seconds * 1000000 + hundredths * 10000;
	return 0;
}

/*
 * The one effect of a dump that is meant to outlive it outside of the images directory: the keeper.
 * It stands in the journal before it stands by itself.
 */
static int announce_keeper(struct dump *d, struct err *err)
{
	pid_t pid = d->track.keeper.pid;
	char why[96];
	const struct effect e = { .kind = EFFECT_PROCESS, .pid = pid,
		.since = journal_process_start(pid), .why = why };
	struct journal *journal;
	int r = image_set_journal(d->images, &journal, err);

	snprintf(why, sizeof(why), "keeps track of the memory of task %d until that ends",
		d->subjects.at[0].pid);
	if (r == 0)
		r = journal_add(journal, &e, &d->track.effect, err);
	if (r == 0)
		log_info("process %d (torpor-tracker) %s", pid, why);
	return r;
}

static int hand_over(struct dump *d, TorporTrackerEntry *e, struct err *err)
{
	struct kept_task *tasks = calloc(d->subjects.n, sizeof(*tasks));
	size_t n = 0;
	int r = tasks ? 0 : err_nomem(err);

	vec_each(s, &d->subjects)
		if (r == 0 && s->before.again)
			tasks[n++] = (struct kept_task){ s->pid, s->start, s->before.uffd };
	if (r == 0 && n) {
		r = announce_keeper(d, err);
		if (r == 0)
			r = keeper_hand_over(&d->track.keeper, tasks, n, d->world->arena, e, err);
		d->track.handed_over = r == 0;
	}
	free(tasks);
	return r;
}

int track_keep(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	TorporTrackerEntry e = TORPOR_TRACKER_ENTRY__INIT;
	struct image_writer *w;
	int r = 0, end;

	if (!d->track.again || !d->world->inventory->dump_criu_run_id)
		return 0;
	e.run_id = d->world->inventory->dump_criu_run_id;
	e.tracker = (char *)d->track.tracker->name;
	if (track_needs_keeper(d))
		r = hand_over(d, &e, err);
	if (r == 0)
		r = image_create(d->images, IMG_TORPOR_TRACKER, 0, &w, err);
	if (r < 0)
		return r;
	r = image_put(w, &e, err);
	end = image_finish(w, r < 0 ? NULL : err);
	return r < 0 ? r : end;
}

void track_unkeep(void *ctx)
{
	struct dump *d = ctx;
	struct err err = ERR_INIT;
	struct journal *journal;

	if (!d->track.handed_over)
		return;
	kill(d->track.keeper.pid, SIGKILL);
	waitpid(d->track.keeper.pid, NULL, 0);
	if (image_set_journal(d->images, &journal, &err) == 0)
		journal_gone(journal, d->track.effect);
}

/* Crosses the keeper out in a journal: 0, also when it does not stand there. */
static int cross_out(int dirfd, const TorporTrackerEntry *e, struct arena *a, struct err *err)
{
	struct journal_view v = { 0 };
	struct journal *journal;
	int r = journal_read(dirfd, a, &v, err);

	if (r == 0 && v.found)
		r = journal_open(dirfd, "dump", &journal, err);
	if (r == 0 && v.found) {
		vec_each(x, &v.effects)
			if (!x->gone && x->effect.kind == EFFECT_PROCESS &&
				(uint32_t)x->effect.pid == e->keeper &&
				x->effect.since == e->keeper_start)
				journal_gone(journal, x->id);
		journal_close(journal);
	}
	vec_done(&v.effects);
	return r;
}

void track_forget_parents(struct dump *d)
{
	const struct page_parent *p = d->track.parent;
	struct err err = ERR_INIT;
	char text[sizeof(err.text) + sizeof(err.trail)];

	if (!p || !p->tracker || !p->tracker->has_keeper)
		return;
	if (cross_out(image_set_dirfd(p->set), p->tracker, p->arena, &err) < 0)
		log_info("the journal of the previous images still tells of process %u: %s",
			p->tracker->keeper, err_text(&err, text, sizeof(text)));
}
