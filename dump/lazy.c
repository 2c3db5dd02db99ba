// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dump --lazy-pages: the images are complete but for pages that may come later; the stopped tasks
 * keep them, and this process answers whoever asks, until he says that he needs nothing more. Then
 * the tasks end as after any dump.
 *
 * If he never says so: as long as nothing was asked for, nobody can have gone on with this memory and
 * the tasks run on; otherwise they stay stopped, for a person to decide.
 */
#include "base/io.h"
#include "base/log.h"
#include "dump/ctx.h"
#include "pages/lazy_get.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct giver {
	struct page_giver base;
	const struct dump *d;
	const struct subject *of; /* whose memory is open */
	int mem;
	uint64_t given; /* pages */
};

static const struct subject *find_subject(const struct dump *d, unsigned long pid)
{
	const struct task *t = pid <= INT32_MAX ? world_task(d->world, (pid_t)pid) : NULL;

	return t && !d->subjects.at[t->index].zombie ? &d->subjects.at[t->index] : NULL;
}

static int open_memory(struct giver *g, unsigned long pid, struct err *err)
{
	const struct subject *s = find_subject(g->d, pid);
	char path[64];

	if (!s)
		return err_set(err, ERR_USAGE, ESRCH, "there is no task %lu in this dump", pid);
	if (s == g->of)
		return 0;
	if (g->mem >= 0)
		close(g->mem);
	g->of = NULL;
	snprintf(path, sizeof(path), "/proc/%d/mem", subject_voice(s)->tid);
	g->mem = open(path, O_RDONLY | O_CLOEXEC);
	if (g->mem < 0)
		return err_sys(err, "cannot open the memory of task %lu", pid);
	g->of = s;
	return 0;
}

static int give(struct page_giver *base, unsigned long pid, uint64_t vaddr, uint64_t pages, void *buf,
	struct err *err)
{
	struct giver *g = (struct giver *)base;
	int r = open_memory(g, pid, err);

	if (r == 0)
		r = io_pread_all(g->mem, buf, pages * PAGE, (off_t)vaddr);
	if (r < 0 && !err_is_set(err))
		return err_sysn(err, -r, "cannot read page 0x%lx of task %lu", vaddr, pid);
	g->given += r == 0 ? pages : 0;
	return r;
}

/* Everybody who connects, until somebody says that it was all. */
static int answer_all(struct dump *d, struct giver *g, struct err *err)
{
	const struct page_giver_place place = { .listening = d->lasting->listening, .tls = d->o->tls,
		.tls_files = tls_files_of(d->o) };
	int r = page_giver_serve(&g->base, &place, NULL, err);

	return r < 0 ? r : 0;
}

/* The port is there before anything is stopped; it may be taken. */
int lazy_listen(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	const struct tls_files files = tls_files_of(d->o);
	uint16_t port;
	int r = 0;

	if (d->lasting->listening >= 0) /* an earlier try listens */
		return 0;
	if (d->o->tls)
		r = tls_check(&files, err);
	if (r == 0)
		r = conn_listen(d->o->address, (uint16_t)d->o->port, &d->lasting->listening, &port, err);
	if (r < 0)
		return r;
	log_info("pages can be asked for at port %u", port);
	if (!d->o->json && !d->o->as_criu)
		printf("listening on port %u\n", port);
	fflush(stdout);
	return 0;
}

bool lazy_is_wanted(const void *ctx)
{
	const struct dump *d = ctx;

	return d->o->lazy_pages;
}

/* The set is complete, and pages can be asked for: one byte 0, then the end (--status-fd). */
static void tell_ready(const struct options *o)
{
	int fd = (int)o->status_fd;

	if (fd < 0)
		return;
	if (write(fd, "", 1) != 1)
		log_warn("nobody is told by descriptor %d: %s", fd, strerror(errno));
	close(fd);
}

/* 1: the tasks were taken over elsewhere; 0: nobody ever asked for a page. */
int lazy_serve(struct dump *d, struct err *err)
{
	struct giver g = { .base = { give }, .d = d, .mem = -1 };
	int r;

	tell_ready(d->o);
	r = answer_all(d, &g, err);

	if (g.mem >= 0)
		close(g.mem);
	d->lazy_given = g.given;
	log_info("%lu pages were asked for", (unsigned long)g.given);
	if (r < 0 && g.given)
		return err_while(err, "answering; %lu pages were given away, so the tasks stay stopped",
			(unsigned long)g.given);
	return r < 0 ? r : 1;
}
