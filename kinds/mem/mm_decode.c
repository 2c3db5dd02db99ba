// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pages that the husk cannot read itself, because they are filtered: they are decoded here and
 * written into it from outside, one MiB at a time. Most of that is page faults in the husk, so with
 * a crew the writing goes on while the next pages are decoded: three buffers by turns.
 */
#include "base/crew.h"
#include "base/io.h"
#include "kinds/mem/build.h"
#include <string.h>
#include <sys/uio.h>

enum { BUFFERS = 3 };

/* One gather on its way into the husk. */
struct writing {
	struct job job;
	struct husk *husk;
	bool busy; /* the crew has it */
	uint8_t *bytes; /* GATHER_BYTES */
	struct gather gather;
	int failed; /* negative errno */
	uint64_t failed_at;
};

struct decoding {
	struct crew *crew; /* NULL: everything is done by the caller */
	size_t next;
	struct writing writings[BUFFERS];
};

/* What process_vm_writev(2) cannot write (an area nobody may write) /proc/PID/mem can. */
static void write_job(struct job *job, unsigned worker)
{
	struct writing *w = (struct writing *)job;
	const struct gather *g = &w->gather;
	struct iovec local = { w->bytes, g->bytes };
	ssize_t n = process_vm_writev(w->husk->pid, &local, 1, g->iov, g->n, 0);
	uint64_t have = n > 0 ? (uint64_t)n : 0, at = 0;

	w->failed = 0;
	for (size_t i = 0; i < g->n && have < g->bytes; at += g->iov[i++].iov_len) {
		uint64_t skip = have > at ? have - at : 0;

		if (skip >= g->iov[i].iov_len)
			continue;
		w->failed_at = (uint64_t)(uintptr_t)g->iov[i].iov_base + skip;
		w->failed = husk_write(w->husk, w->bytes + at + skip, g->iov[i].iov_len - skip,
			w->failed_at);
		if (w->failed)
			return;
	}
}

static int finish(struct build *b, struct writing *w, struct err *err)
{
	if (!w->busy)
		return 0;
	crew_wait(b->decoding->crew, &w->job);
	w->busy = false;
	return w->failed < 0 ? err_sysn(err, -w->failed, "cannot write page 0x%lx of task %d",
				       w->failed_at, b->task->pid) : 0;
}

static struct writing *next_writing(struct build *b)
{
	struct decoding *d = b->decoding;

	if (!d) {
		d = b->decoding = calloc(1, sizeof(*d));
		if (!d)
			return NULL;
	}
	return &d->writings[d->next++ % BUFFERS];
}

void decode_begin(struct build *b)
{
	if (page_source_filtered(&b->pages) <= PAGE_CREW_FROM)
		return;
	b->decoding = calloc(1, sizeof(*b->decoding));
	if (!b->decoding)
		return;
	b->decoding->crew = crew_new(image_set_access(b->b->images)->cpus);
	page_source_use_crew(&b->pages, b->decoding->crew);
}

int decode_gather(struct build *b, struct err *err)
{
	struct gather *g = &b->gather;
	struct writing *w = next_writing(b);
	int r = w ? build_play(b, err) : err_nomem(err); /* what the tape maps must be there */

	if (r == 0)
		r = finish(b, w, err);
	if (r == 0 && !w->bytes)
		w->bytes = malloc(GATHER_BYTES);
	if (r == 0 && !w->bytes)
		r = err_nomem(err);
	if (r == 0)
		r = page_layer_read(&b->pages.layers.at[g->layer], g->offset, g->bytes, w->bytes, err);
	if (r < 0)
		return r;
	r = husk_write(b->husk, NULL, 0, 0); /* opens its memory, before the crew needs it */
	if (r < 0)
		return err_sysn(err, -r, "cannot open the memory of task %d", b->task->pid);
	memcpy(&w->gather, g, sizeof(*g));
	w->job.run = write_job;
	w->husk = b->husk;
	w->busy = true;
	g->n = 0;
	g->bytes = 0;
	if (b->decoding->crew) {
		crew_give(b->decoding->crew, &w->job);
		return 0;
	}
	write_job(&w->job, 0);
	w->busy = false;
	return w->failed < 0 ? err_sysn(err, -w->failed, "cannot write page 0x%lx of task %d",
				       w->failed_at, b->task->pid) : 0;
}

int decode_settle(struct build *b, struct err *err)
{
	int r = 0;

	for (size_t i = 0; b->decoding && i < BUFFERS; i++) {
		int q = finish(b, &b->decoding->writings[i], r < 0 ? NULL : err);

		r = r < 0 ? r : q;
	}
	return r;
}

void decode_end(struct build *b)
{
	struct decoding *d = b->decoding;

	if (!d)
		return;
	page_source_use_crew(&b->pages, NULL);
	crew_free(d->crew); /* finishes what is under way */
	for (size_t i = 0; i < BUFFERS; i++)
		free(d->writings[i].bytes);
	free(d);
	b->decoding = NULL;
}
