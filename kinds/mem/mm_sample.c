// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Samples of the memory that is about to be saved, for filters which learn from them: pieces of
 * 16 KiB at equal distances through all private anonymous memory that is there. They are read by
 * /proc/PID/mem, which breaks no sharing.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/vec.h"
#include "kernel/pagemap.h"
#include "kinds/mem/mm.h"
#include "kinds/mem/vma.h"
#include "pages/batch.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

enum { SAMPLE = 4 * PAGE };

/* Without PAGEMAP_SCAN larger areas take too long to walk; they are mostly holes. */
#define WALK_MOST (16ull << 30)

struct place {
	pid_t tid;
	uint64_t start, end;
};

struct mm_samples {
	struct vec_of(struct place) places;
	uint64_t bytes; /* of all places */
	pid_t tid; /* who is being looked at */
};

struct mm_samples *mm_samples_new(void)
{
	struct mm_samples *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	return s;
}

void mm_samples_free(struct mm_samples *s)
{
	vec_done(&s->places);
	free(s);
}

static int note_span(const struct page_span *span, void *data, struct err *err)
{
	struct mm_samples *s = data;
	struct place p = { s->tid, span->start, span->end };

	if (span->is & (PAGE_PFNZERO | PAGE_GUARD))
		return 0;
	s->bytes += p.end - p.start;
	vec_push(&s->places, p);
	return 0;
}

int mm_samples_look(struct mm_samples *s, const struct task *t, pid_t tid, struct err *err)
{
	struct page_scanner scanner = { .fd = -1 };
	int r = page_scanner_open(&scanner, tid, err);

	s->tid = tid;
	for (size_t i = 0; r == 0 && i < t->mm->n_vmas; i++) {
		const VmaEntry *v = t->mm->vmas[i];

		if (!vma_has_pages(v) || !vma_is_anon_private(v) ||
			(!scanner.can_scan && v->end - v->start > WALK_MOST))
			continue;
		r = page_scan(&scanner, PAGE_PRESENT, v->start, v->end, note_span, s, err);
	}
	page_scanner_close(&scanner);
	return r;
}

/* Every `step` bytes a sample, counted through all places. What cannot be read is left out. */
static size_t take(const struct mm_samples *s, uint64_t step, uint8_t *bytes, size_t room,
	size_t *sizes)
{
	uint64_t next = 0, before = 0;
	size_t len = 0, n = 0;
	auto_close int mem = -1;
	pid_t open_tid = 0;
	char path[64];

	vec_each(p, &s->places) {
		for (; next < before + (p->end - p->start) && len + SAMPLE <= room; next += step) {
			uint64_t at = p->start + (next - before) / PAGE * PAGE;
			size_t want = p->end - at < SAMPLE ? p->end - at : SAMPLE;

			if (open_tid != p->tid) {
				if (mem >= 0)
					close(mem);
				snprintf(path, sizeof(path), "/proc/%d/mem", p->tid);
				mem = open(path, O_RDONLY | O_CLOEXEC);
				open_tid = p->tid;
			}
			if (io_pread_all(mem, bytes + len, want, (off_t)at) < 0 ||
				page_is_zero(bytes + len))
				continue;
			sizes[n++] = want;
			len += want;
		}
		before += p->end - p->start;
	}
	return n;
}

int mm_samples_take(struct mm_samples *s, struct filter_chain *chain, struct err *err)
{
	size_t room = filter_chain_samples(chain);
	uint64_t step = s->bytes / (room / SAMPLE + 1);
	auto_free uint8_t *bytes = malloc(room);
	auto_free size_t *sizes = calloc(room / PAGE + 1, sizeof(*sizes));
	size_t n;

	if (!bytes || !sizes)
		return err_nomem(err);
	n = take(s, step > SAMPLE ? step : SAMPLE, bytes, room, sizes);
	filter_chain_give_samples(chain, take_ptr(bytes), take_ptr(sizes), n);
	return 0;
}
