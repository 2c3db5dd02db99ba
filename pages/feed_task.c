// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads the memory of a process, stopped or running. Two roads, chosen by span: process_vm_readv(2), many
 * spans in one call, where nobody else maps the pages; /proc/PID/mem for the rest, which neither
 * un-shares pages nor asks for the right to read. What the first road could not read (an area may
 * forbid it for reasons of its own) is read by the second.
 */
#include "base/io.h"
#include "pages/batch.h"
#include "pages/feed.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PIECES = IOV_MAX };

/* Part of a span, to be read in one go. */
struct piece {
	const struct task_span *span;
	uint64_t addr;
	size_t len;
	size_t got; /* whole pages of it that were read */
};

/* Bytes that came; errno tells why it is not all. */
static size_t read_by_mem(const struct task_feed *s, uint8_t *to, uint64_t addr, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pread(s->mem, to + done, len - done, (off_t)(addr + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n ? errno : EIO;
			break;
		}
		done += (size_t)n;
	}
	return done;
}

/* Bytes that came; a failure shows as a short count. */
static size_t read_by_iov(const struct task_feed *s, uint8_t *to, const struct piece *pieces,
	size_t n, size_t total)
{
	struct iovec local = { to, total }, remote[PIECES];
	ssize_t r;

	for (size_t i = 0; i < n; i++)
		remote[i] = (struct iovec){ (void *)pieces[i].addr, pieces[i].len };
	r = process_vm_readv(s->pid, &local, 1, remote, n, 0);
	return r < 0 ? 0 : (size_t)r;
}

static int read_pieces(const struct task_feed *s, uint8_t *to, struct piece *pieces, size_t n,
	size_t total, struct err *err)
{
	size_t have = pieces[0].span->exclusive ? read_by_iov(s, to, pieces, n, total) : 0;
	size_t at = 0;

	for (size_t i = 0; i < n; at += pieces[i++].len) {
		struct piece *p = &pieces[i];
		size_t skip = have > at ? have - at : 0;

		if (skip < p->len)
			p->got = skip +
				read_by_mem(s, to + at + skip, p->addr + skip, p->len - skip);
		else
			p->got = p->len;
		if (p->got < p->len && !s->runs_on)
			return err_sys(err, "cannot read the memory of process %d at 0x%lx", s->pid,
				p->addr + p->got);
		p->got -= p->got % PAGE;
	}
	return 0;
}

/* Pieces of one road that fit into room bytes; moves the feed on. */
static size_t take_pieces(struct task_feed *s, struct piece *pieces, size_t room,
	size_t *ret_total)
{
	const struct task_span *span = &s->spans[s->at];
	bool exclusive = span->exclusive;
	size_t n = 0, total = 0;

	while (s->at < s->n && n < PIECES && total < room) {
		uint64_t left;
		size_t len;

		span = &s->spans[s->at];
		if (span->exclusive != exclusive || !(span->flags & RUN_PRESENT))
			break;
		left = span->end - span->start - s->done;
		len = left < room - total ? left : room - total;
		pieces[n++] = (struct piece){ .span = span, .addr = span->start + s->done,
			.len = len };
		total += len;
		s->done += len;
		if (len == left) {
			s->at++;
			s->done = 0;
		}
	}
	*ret_total = total;
	return n;
}

/* Spans that are only told, as far as there is room; moves the feed on. */
static void tell_spans(struct task_feed *s, struct batch *b)
{
	for (; s->at < s->n && b->n_runs < BATCH_RUNS - BATCH_PAGES; s->at++) {
		const struct task_span *span = &s->spans[s->at];
		uint64_t pages = (span->end - span->start) / PAGE;

		if (span->flags & RUN_PRESENT)
			return;
		batch_add_run(b, span->start, pages, span->flags);
		*(span->flags & RUN_PARENT ? &s->skipped : &s->lazy) += pages;
	}
}

static int task_next(struct page_feed *base, struct batch *b, struct err *err)
{
	struct task_feed *s = (struct task_feed *)base;
	struct piece pieces[PIECES];
	batch_reset(b);
	if (s->at == s->n)
		return 0;
	for (;;) {
		uint8_t *from = b->bytes + b->len; /* what was read and not kept is read over */
		size_t total, n;
		int rc;

		tell_spans(s, b);
		/* every page may need a run of its own */
		if (s->at == s->n || batch_is_full(b) ||
			b->n_runs >= BATCH_RUNS - BATCH_PAGES)
			return 1;
		n = take_pieces(s, pieces, BATCH_BYTES - b->len, &total);
		rc = read_pieces(s, from, pieces, n, total, err);
		if (rc < 0)
			return rc;
		for (size_t i = 0; i < n; from += pieces[i++].len)
			batch_take(b, from, pieces[i].addr, pieces[i].got, pieces[i].span->flags,
				pieces[i].span->drop_zero);
	}
}

int task_feed_open(struct task_feed *s, pid_t pid, const struct task_span *spans, size_t n,
	struct err *err)
{
	char path[64];

	*s = (struct task_feed){ .base = { task_next }, .pid = pid, .spans = spans, .n = n };
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	s->mem = open(path, O_RDONLY | O_CLOEXEC);
	return s->mem < 0 ? err_sys(err, "cannot open %s", path) : 0;
}

void task_feed_close(struct task_feed *s)
{
	if (s->mem >= 0)
		close(s->mem);
	s->mem = -1;
}
