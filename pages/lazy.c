// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/log.h"
#include "pages/lazy_priv.h"
#include "proto/messages.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { TOUCHES_MAX = 1 << 16 };

/* ---- the working set ---- */

static void remember(struct lazy *l, const TorporTouchedEntry *e)
{
	struct touches *of_pid = table_get(&l->before, e->pid);
	struct touched t = { .image = e->vaddr, .pages = e->pages, .pid = e->pid };

	if (!of_pid) {
		of_pid = calloc(1, sizeof(*of_pid));
		if (!of_pid)
			abort();
		table_put(&l->before, e->pid, of_pid);
		vec_push(&l->all_before, of_pid);
	}
	if (e->vaddr % PAGE == 0 && e->pages && e->pages <= LAZY_PIECE_MAX)
		vec_push(of_pid, t);
}

/* Only a hint: one that cannot be read is none. */
static void load_working_set(struct lazy *l)
{
	struct err err = ERR_INIT;
	struct image_reader *r = NULL;
	struct arena *a = arena_new();
	TorporTouchedEntry *e;
	int got = image_open(l->setup.set, IMG_TORPOR_WORKING_SET, 0, &r, &err);

	for (size_t n = 0; got >= 0 && r && n < TOUCHES_MAX; n++) {
		got = image_next(r, a, &e, &err);
		if (got <= 0)
			break;
		remember(l, e);
	}
	if (got < 0)
		log_info("the working set of the last restore is not used: %s", err.text);
	image_reader_close(r);
	arena_free(a);
}

void lazy_note(struct lazy *l, const struct touched *t)
{
	pthread_mutex_lock(&l->lock);
	if (l->now.n < TOUCHES_MAX)
		vec_push(&l->now, *t);
	pthread_mutex_unlock(&l->lock);
}

static int put_touches(struct image_writer *w, const struct touches *touches, struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < touches->n && r == 0; i++) {
		TorporTouchedEntry e = TORPOR_TOUCHED_ENTRY__INIT;

		e.pid = (uint32_t)touches->at[i].pid;
		e.vaddr = touches->at[i].image;
		e.pages = (uint32_t)touches->at[i].pages;
		r = image_put(w, &e, err);
	}
	return r;
}

/* One that is there is left alone: what it made us bring ahead was not seen to be touched. */
static void save_working_set(struct lazy *l)
{
	struct err err = ERR_INIT;
	struct image_writer *w;
	int r, end;

	if (!l->now.n || l->before.n)
		return;
	r = image_create(l->setup.set, IMG_TORPOR_WORKING_SET, 0, &w, &err);
	if (r == 0) {
		r = put_touches(w, &l->now, &err);
		end = image_finish(w, r < 0 ? NULL : &err);
		r = r < 0 ? r : end;
	}
	if (r < 0)
		log_info("the working set is not kept: %s", err.text);
}

/* ---- workers ---- */

static int worker_start(struct lazy *l, struct lazy_worker *w, struct err *err)
{
	struct epoll_event e = { .events = EPOLLIN };
	sigset_t all, old;
	int r;

	*w = (struct lazy_worker){ .lazy = l, .epoll = epoll_create1(EPOLL_CLOEXEC),
		.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.bytes = malloc(LAZY_PIECE_MAX * (size_t)PAGE) };
	if (w->epoll < 0 || w->bell < 0 || !w->bytes ||
		epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->bell, &e) < 0)
		return err_sys(err, "cannot prepare a thread that brings pages");
	pthread_mutex_init(&w->lock, NULL);
	/* signals are the main thread's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, lazy_worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? err_sysn(err, r, "cannot start a thread that brings pages") : 0;
}

static void worker_free(struct lazy_worker *w)
{
	close(w->epoll);
	close(w->bell);
	free(w->bytes);
	vec_done(&w->incoming);
	vec_done(&w->tasks);
}

int lazy_start(const struct lazy_setup *setup, struct lazy **ret, struct err *err)
{
	struct lazy *l = calloc(1, sizeof(*l));
	int r = 0;

	if (!l)
		return err_nomem(err);
	l->setup = *setup;
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->decoding, NULL);
	l->workers = calloc(setup->workers, sizeof(*l->workers));
	if (!l->workers)
		abort();
	load_working_set(l);
	while (r == 0 && l->n_workers < setup->workers) {
		r = worker_start(l, &l->workers[l->n_workers], err);
		l->n_workers += r == 0;
	}
	if (r < 0 && !l->n_workers) {
		lazy_finish(l, &(struct lazy_figures){ 0 });
		return r;
	}
	if (r < 0) /* some will do */
		err_clear(err);
	*ret = l;
	return 0;
}

int lazy_add(struct lazy *l, unsigned long pid, int take_uffd, struct err *err)
{
	struct lazy_worker *w = &l->workers[l->next_worker++ % l->n_workers];
	struct lazy_task *t = calloc(1, sizeof(*t));
	struct lazy_image *image;
	int r;

	pthread_mutex_lock(&l->decoding);
	r = t ? lazy_image_open(l->setup.set, pid, &image, err) : err_nomem(err);
	pthread_mutex_unlock(&l->decoding);
	if (r < 0) {
		free(t);
		close(take_uffd);
		return err_while(err, "looking for the pages of task %lu", pid);
	}
	t->uffd = take_uffd;
	lazy_space_init(&t->space, image);
	pthread_mutex_lock(&w->lock);
	vec_push(&w->incoming, t);
	pthread_mutex_unlock(&w->lock);
	lazy_worker_ring(w);
	return 0;
}

void lazy_all_run(struct lazy *l)
{
	l->all_run = true;
	for (size_t i = 0; i < l->n_workers; i++)
		lazy_worker_ring(&l->workers[i]);
}

static void free_before(struct lazy *l)
{
	vec_each(of_pid, &l->all_before) {
		vec_done(*of_pid);
		free(*of_pid);
	}
	vec_done(&l->all_before);
	table_done(&l->before);
}

void lazy_finish(struct lazy *l, struct lazy_figures *ret)
{
	*ret = (struct lazy_figures){ 0 };
	for (size_t i = 0; i < l->n_workers; i++) {
		struct lazy_worker *w = &l->workers[i];

		pthread_join(w->thread, NULL);
		ret->faults += w->figures.faults;
		ret->on_fault += w->figures.on_fault;
		ret->ahead += w->figures.ahead;
		ret->zeros += w->figures.zeros;
		ret->failed |= w->figures.failed;
		worker_free(w);
	}
	save_working_set(l);
	free_before(l);
	vec_done(&l->now);
	free(l->workers);
	free(l);
}
