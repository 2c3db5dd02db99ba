// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/log.h"
#include "kernel/userfault.h"
#include "pages/lazy_priv.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 16 };

static void task_free(struct lazy_task *t)
{
	close(t->uffd); /* the kernel lets go of all areas and of everybody who waits */
	lazy_space_done(&t->space);
	vec_done(&t->faults);
	free(t);
}

static void task_take(struct lazy_worker *w, struct lazy_task *t)
{
	struct epoll_event e = { .events = EPOLLIN, .data = { .ptr = t } };

	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, t->uffd, &e) < 0)
		log_error("pages of task %lu are not brought: %m", t->space.image->pid);
	vec_push(&w->tasks, t);
}

/* ---- bringing ---- */

static int read_piece(struct lazy_worker *w, struct lazy_image *m, const struct page_segment *seg,
	uint64_t image, uint64_t pages, uint8_t *buf, struct err *err)
{
	if (seg->layer != PAGE_LAYER_REMOTE && !m->source.layers.at[seg->layer].filtered)
		return page_source_read(&m->source, seg, image, pages, buf, err);
	if (seg->layer != PAGE_LAYER_REMOTE) {
		int r;

		pthread_mutex_lock(&w->lazy->decoding);
		r = page_source_read(&m->source, seg, image, pages, buf, err);
		pthread_mutex_unlock(&w->lazy->decoding);
		return r;
	}
	if (!w->lazy->setup.getter)
		return err_image(err, "page 0x%lx of task %lu was left behind by dump --lazy-pages; "
			"give the address and port of that dump", image, m->pid);
	return page_getter_get(w->lazy->setup.getter, m->pid, image, pages, buf, err);
}

/* A huge page may consist of several pieces, with zeros between them. */
static int read_range(struct lazy_worker *w, struct lazy_task *t, const struct lazy_range *range,
	struct err *err)
{
	struct lazy_image *m = t->space.image;
	const uint64_t end = range->image + range->pages * PAGE;
	const struct page_segment *seg;
	uint64_t at = range->image, pages;
	int r = 0;

	if (range->page > PAGE)
		memset(w->bytes, 0, range->page);
	while (r == 0 && (seg = lazy_image_piece(m, &at, end, &pages))) {
		r = read_piece(w, m, seg, at, pages, w->bytes + (at - range->image), err);
		at += pages * PAGE;
	}
	return r;
}

/* The task shall not go on with zeros instead of its memory. */
static void give_up(struct lazy_worker *w, struct lazy_task *t, const struct lazy_range *range,
	struct err *err)
{
	char text[sizeof(err->text) + sizeof(err->trail)];

	log_error("pages 0x%lx-0x%lx of task %lu are lost: %s", range->at,
		range->at + range->pages * PAGE, t->space.image->pid,
		err_text(err, text, sizeof(text)));
	if (userfault_poison(t->uffd, range->at, range->pages * PAGE) < 0)
		log_error("whoever touches them waits for ever");
	w->figures.failed = true;
	lazy_space_brought(&t->space, range, range->pages);
}

/*
 * Puts what was read in place. One call serves one area; where the range goes on into the next one,
 * or into nothing, the kernel says -ENOENT for the whole.
 */
static int place(struct lazy_worker *w, struct lazy_task *t, const struct lazy_range *range,
	uint64_t *ret_placed)
{
	const uint64_t len = range->pages * PAGE;
	uint64_t at = 0, most = len, done;

	while (at < len) {
		uint64_t part = most < len - at ? most : len - at;
		int r = userfault_bring(t->uffd, range->at + at, w->bytes + at, part, range->page,
			&done);

		at += done;
		*ret_placed = at;
		if (r == -ENOENT && part - done > range->page)
			most = (part - done) / 2 / range->page * range->page;
		else if (r == -ENOENT) /* this page is unmapped; the event is on its way */
			at += range->page;
		else if (r < 0)
			return r;
		else
			most = len;
	}
	*ret_placed = len;
	return 0;
}

/* 0, also when it was not wanted any more; -EAGAIN: events first; -ESRCH: the task has ended. */
static int bring(struct lazy_worker *w, struct lazy_task *t, const struct lazy_range *range)
{
	struct err err = ERR_INIT;
	uint64_t placed = 0;
	int r = read_range(w, t, range, &err);

	if (r < 0) {
		give_up(w, t, range, &err);
		return 0;
	}
	r = place(w, t, range, &placed);
	lazy_space_brought(&t->space, range, placed / PAGE);
	if (r == 0 || r == -EAGAIN || r == -ESRCH)
		return r;
	err_sysn(&err, -r, "they cannot be put in place");
	give_up(w, t, range, &err);
	return 0;
}

/* Nothing was saved there. */
static int bring_zeros(struct lazy_worker *w, struct lazy_task *t, uint64_t at, uint64_t page)
{
	const struct lazy_range range = { .image = at, .at = at, .pages = page / PAGE, .page = page };
	struct err err = ERR_INIT;
	uint64_t done;
	int r;

	w->figures.zeros++;
	if (page > PAGE)
		memset(w->bytes, 0, page);
	r = userfault_bring(t->uffd, at, page > PAGE ? w->bytes : NULL, page, page, &done);
	if (r == 0 || r == -ENOENT || r == -EAGAIN || r == -ESRCH)
		return r;
	err_sysn(&err, -r, "zeros cannot be put in place");
	give_up(w, t, &range, &err);
	return 0;
}

static int serve_fault(struct lazy_worker *w, struct lazy_task *t, uint64_t at)
{
	struct lazy_range range;
	int r;

	w->figures.faults++;
	if (!lazy_space_find(&t->space, at, LAZY_NEIGHBOURS, &range)) {
		r = bring_zeros(w, t, range.at, range.page);
		return r == -ENOENT ? 0 : r;
	}
	r = bring(w, t, &range);
	if (r == 0) {
		const struct touched touched = { range.image, range.pages, t->space.image->pid };

		w->figures.on_fault += range.pages;
		lazy_space_follow(&t->space, &range);
		lazy_note(w->lazy, &touched);
	}
	return r;
}

/* ---- events ---- */

static void take_fork(struct lazy_worker *w, const struct lazy_task *t, int fd)
{
	struct lazy_task *child = calloc(1, sizeof(*child));

	if (!child)
		abort();
	child->uffd = fd;
	child->recalled = t->recalled;
	lazy_space_copy(&child->space, &t->space);
	task_take(w, child);
}

static void take_event(struct lazy_worker *w, struct lazy_task *t, const struct userfault_event *e)
{
	switch (e->kind) {
	case USERFAULT_PAGE:
		vec_push(&t->faults, e->start / PAGE * PAGE);
		break;
	case USERFAULT_FORK:
		take_fork(w, t, e->fd);
		break;
	case USERFAULT_MOVE:
		lazy_space_move(&t->space, e->start, e->to, e->len);
		break;
	case USERFAULT_DROP:
	case USERFAULT_UNMAP:
		lazy_space_drop(&t->space, e->start, e->end);
		break;
	}
}

/* 0, or what the first fault that could not be served says. */
static int serve_faults(struct lazy_worker *w, struct lazy_task *t)
{
	while (t->faults.n) {
		int r = serve_fault(w, t, t->faults.at[t->faults.n - 1]);

		if (r == -EAGAIN || r == -ESRCH)
			return r;
		t->faults.n--;
	}
	return 0;
}

/* All events that are there, in their order, then the faults. -ESRCH: the task has ended. */
static int serve(struct lazy_worker *w, struct lazy_task *t)
{
	struct userfault_event events[EVENTS];
	int n, r;

	do {
		while ((n = userfault_events(t->uffd, events, EVENTS)) > 0)
			for (int i = 0; i < n; i++)
				take_event(w, t, &events[i]);
		r = n < 0 ? n : serve_faults(w, t);
	} while (r == -EAGAIN);
	return r;
}

/* ---- background ---- */

/* What was touched at an earlier restore. */
static bool recall(struct lazy_task *t, const struct lazy *l, struct lazy_range *ret)
{
	const struct touches *before = table_get(&l->before, t->space.image->pid);

	while (before && t->recalled < before->n) {
		const struct touched *x = &before->at[t->recalled];

		if (lazy_space_find_saved(&t->space, x->image, x->pages, ret))
			return true;
		t->recalled++;
	}
	return false;
}

/* A piece for this task; false: nothing is to be done for it now. */
static bool work_ahead(struct lazy_worker *w, struct lazy_task *t, int *ret)
{
	struct lazy_range range;

	if (!recall(t, w->lazy, &range) &&
		(!w->lazy->all_run || !lazy_space_next(&t->space, w->piece, &range)))
		return false;
	*ret = bring(w, t, &range);
	if (*ret == 0)
		w->figures.ahead += range.pages;
	return true;
}

static bool is_finished(const struct lazy_worker *w, const struct lazy_task *t)
{
	return w->lazy->all_run && !t->space.left && !t->faults.n;
}

static void task_drop(struct lazy_worker *w, size_t i)
{
	task_free(w->tasks.at[i]);
	w->tasks.at[i] = w->tasks.at[--w->tasks.n];
}

/* One piece for one task, the others in turn. False: nobody has anything to do. */
static bool work_in_turn(struct lazy_worker *w)
{
	for (size_t tried = 0; tried < w->tasks.n; tried++) {
		struct lazy_task *t;
		int r = 0;

		w->turn = w->turn + 1 < w->tasks.n ? w->turn + 1 : 0;
		t = w->tasks.at[w->turn];
		if (is_finished(w, t)) {
			task_drop(w, w->turn);
			return true;
		}
		if (!work_ahead(w, t, &r))
			continue;
		if (r == -EAGAIN)
			r = serve(w, t);
		if (r == -ESRCH)
			task_drop(w, w->turn);
		w->piece = w->piece * 2 < LAZY_PIECE_MAX ? w->piece * 2 : LAZY_PIECE_MAX;
		return true;
	}
	return false;
}

/* ---- the thread ---- */

void lazy_worker_ring(struct lazy_worker *w)
{
	uint64_t one = 1;

	(void)!write(w->bell, &one, sizeof(one));
}

static void take_incoming(struct lazy_worker *w)
{
	uint64_t rings;

	(void)!read(w->bell, &rings, sizeof(rings));
	pthread_mutex_lock(&w->lock);
	vec_each(t, &w->incoming)
		task_take(w, *t);
	w->incoming.n = 0;
	pthread_mutex_unlock(&w->lock);
}

static size_t index_of(const struct lazy_worker *w, const struct lazy_task *t)
{
	size_t i = 0;

	while (i < w->tasks.n && w->tasks.at[i] != t)
		i++;
	return i;
}

static void serve_ready(struct lazy_worker *w, const struct epoll_event *events, int n)
{
	for (int i = 0; i < n; i++) {
		struct lazy_task *t = events[i].data.ptr;
		size_t at = t ? index_of(w, t) : 0;

		if (!t) {
			take_incoming(w);
		} else if (at < w->tasks.n) {
			w->piece = LAZY_PIECE_MIN;
			if (serve(w, t) < 0 || events[i].events & (EPOLLHUP | EPOLLERR))
				task_drop(w, index_of(w, t));
		}
	}
}

static bool all_done(struct lazy_worker *w)
{
	bool done;

	pthread_mutex_lock(&w->lock);
	done = w->lazy->all_run && !w->tasks.n && !w->incoming.n;
	pthread_mutex_unlock(&w->lock);
	return done;
}

void *lazy_worker_main(void *arg)
{
	struct lazy_worker *w = arg;
	bool busy = true;

	w->piece = LAZY_PIECE_MIN;
	while (!all_done(w)) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(w->epoll, events, EVENTS, busy ? 0 : -1);

		if (n > 0)
			serve_ready(w, events, n);
		else if (n < 0 && errno != EINTR)
			break;
		busy = n > 0 || work_in_turn(w);
	}
	return NULL;
}
