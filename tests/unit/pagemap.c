// SPDX-License-Identifier: GPL-2.0-or-later
/* Page maps: what the sink writes loads again; what others wrote, well or badly, is understood. */
#include "pages/batch.h"
#include "pages/feed.h"
#include "pages/sink.h"
#include "proto/messages.h"
#include "tests/unit/tap.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct rig {
	struct tap tap;
	char dir[64];
	struct image_set *set;
	struct arena *arena;
};

struct fields {
	uint64_t vaddr;
	int64_t pages2, pages5, flags, parent; /* -1: absent */
};

/* A pagemap of these entries and a pages file of that many pages. */
static int write_set(struct rig *r, const struct fields *f, size_t n, uint64_t pages)
{
	struct err err = ERR_INIT;
	PagemapHead head = PAGEMAP_HEAD__INIT;
	struct image_writer *w;
	int fd = -1, rc;

	head.pages_id = 7;
	rc = image_create(r->set, IMG_PAGEMAP, 1, &w, &err);
	if (rc == 0)
		rc = image_put(w, &head, &err);
	for (size_t i = 0; i < n && rc == 0; i++) {
		PagemapEntry e = PAGEMAP_ENTRY__INIT;

		e.vaddr = f[i].vaddr;
		e.compat_nr_pages = f[i].pages2 < 0 ? 0 : (uint32_t)f[i].pages2;
		e.has_nr_pages = f[i].pages5 >= 0;
		e.nr_pages = (uint64_t)f[i].pages5;
		e.has_flags = f[i].flags >= 0;
		e.flags = (uint32_t)f[i].flags;
		e.has_in_parent = f[i].parent >= 0;
		e.in_parent = f[i].parent > 0;
		rc = image_put(w, &e, &err);
	}
	if (rc == 0)
		rc = image_finish(w, &err);
	if (rc == 0)
		rc = image_create_raw(r->set, IMG_PAGES, 7, &fd, &err);
	if (rc == 0)
		rc = ftruncate(fd, (off_t)(pages * PAGE));
	close(fd);
	return rc;
}

static int load(struct rig *r, struct pagemap *ret, struct err *err)
{
	return pagemap_load(r->set, IMG_PAGEMAP, 1, r->arena, ret, err);
}

static void test_dialects(struct rig *r)
{
	const struct fields f[] = {
		{ 0x1000, 2, -1, 4, -1 }, /* old: field 2 only */
		{ 0x10000, 0, 3, 6, -1 }, /* new: field 5 only */
		{ 0x20000, 1, -1, -1, 1 }, /* in_parent */
		{ 0x30000, 4, -1, -1, -1 }, /* no flags: present */
		{ 0x40000, 1, 1, 2, -1 }, /* lazy without bytes */
		{ 0x41000, 5, 5, 4, -1 },
	};
	struct pagemap m = { 0 };
	struct err err = ERR_INIT;
	bool good = write_set(r, f, 6, 14) == 0 && load(r, &m, &err) == 0 && m.n == 6 &&
		m.pages_id == 7;

	tap_ok(&r->tap, good, "entries of all dialects load", &err);
	tap_ok(&r->tap, good && m.runs[0].pages == 2 && m.runs[1].pages == 3 && m.runs[3].pages == 4,
		"the number of pages is found in either field", NULL);
	tap_ok(&r->tap, good && m.runs[2].flags == RUN_PARENT && m.runs[3].flags == RUN_PRESENT,
		"old flags are understood", NULL);
	tap_ok(&r->tap, good && m.runs[1].offset == 2 * PAGE && m.runs[3].offset == 5 * PAGE &&
			m.runs[5].offset == 9 * PAGE,
		"only present runs take room in the pages file", NULL);
}

static void test_damaged(struct rig *r)
{
	static const struct {
		struct fields f[2];
		uint64_t pages;
		const char *what;
	} bad[] = {
		{ { { 0x1000, 2, 2, 4, -1 }, { 0x2000, 1, 1, 4, -1 } }, 9, "an overlap" },
		{ { { 0x9000, 1, 1, 4, -1 }, { 0x1000, 1, 1, 4, -1 } }, 9, "a wrong order" },
		{ { { 0x1001, 1, 1, 4, -1 }, { 0x9000, 1, 1, 4, -1 } }, 9, "half a page" },
		{ { { 0x1000, 0, -1, 4, -1 }, { 0x9000, 1, 1, 4, -1 } }, 9, "an empty entry" },
		{ { { 0x1000, 1, 1, 64, -1 }, { 0x9000, 1, 1, 4, -1 } }, 9, "an unknown flag" },
		{ { { 0x1000, 1, INT64_MAX, 4, -1 }, { 0x9000, 1, 1, 4, -1 } }, 9, "too many pages" },
		{ { { 0x1000, 1, 1l << 51, 1, -1 }, { 0x9000, 1, 1, 4, -1 } }, 9, "an endless run" },
		{ { { 0x1000, 1, 1, 4, -1 }, { 0x9000, 2, 2, 4, -1 } }, 2, "a short pages file" },
	};
	struct pagemap m;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err err = ERR_INIT;
		bool good = write_set(r, bad[i].f, 2, bad[i].pages) == 0 && load(r, &m, &err) < 0 &&
			err.class == ERR_IMAGE;

		tap_ok(&r->tap, good, bad[i].what, NULL);
	}
}

static void test_missing(struct rig *r)
{
	struct pagemap m = { .n = 5 };
	struct err err = ERR_INIT;

	tap_ok(&r->tap, pagemap_load(r->set, IMG_PAGEMAP, 99, r->arena, &m, &err) == 0 && !m.n,
		"no image is an empty map", &err);
}

/* Our own memory by the feed, in several batches, with zeros and holes; then by the map. */
static void test_round_trip(struct rig *r)
{
	enum { LEN = 5 << 20 };
	uint8_t *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t page[PAGE];
	struct task_span spans[3];
	struct page_stats stats = { 0 };
	struct err err = ERR_INIT;
	struct task_feed feed;
	struct image_sink sink;
	struct pagemap m = { 0 };
	size_t saved = 0;
	int fd = -1, rc;
	bool same = true;

	for (size_t i = 0; i < LEN; i += PAGE)
		if (i / PAGE % 7)
			memcpy(p + i, &i, sizeof(i));
	for (int i = 0; i < 3; i++)
		spans[i] = (struct task_span){ (uint64_t)p + (uint64_t)i * LEN / 4,
			(uint64_t)p + (uint64_t)(i + 1) * LEN / 4, RUN_PRESENT, i != 1, i != 2 };
	rc = task_feed_open(&feed, getpid(), spans, 3, &err);
	if (rc == 0)
		rc = image_sink_open(&sink, r->set, IMG_PAGEMAP, 2, 8, NULL, &err);
	if (rc == 0)
		rc = pages_pump(&feed.base, &sink.base, &stats, &err);
	if (rc == 0)
		rc = image_sink_close(&sink, &err);
	task_feed_close(&feed);
	if (rc == 0)
		rc = pagemap_load(r->set, IMG_PAGEMAP, 2, r->arena, &m, &err);
	if (rc == 0)
		rc = image_open_raw(r->set, IMG_PAGES, 8, &fd, &err);
	tap_ok(&r->tap, rc == 0 && m.n > 80, "memory is saved in batches", &err);
	for (size_t i = 0; i < m.n; i++) {
		for (uint64_t k = 0; k < m.runs[i].pages; k++, saved++)
			same &= pread(fd, page, PAGE, (off_t)(m.runs[i].offset + k * PAGE)) == PAGE &&
				!memcmp(page, (void *)(m.runs[i].vaddr + k * PAGE), PAGE);
		same &= i == 0 || m.runs[i].vaddr >= m.runs[i - 1].vaddr + m.runs[i - 1].pages * PAGE;
	}
	tap_ok(&r->tap, same && saved == sink.written, "every saved page is right", NULL);
	saved += (2ul * LEN / 4 / PAGE + 6) / 7; /* zeros in the first two spans */
	tap_ok(&r->tap, saved == 3ul * LEN / 4 / PAGE, "only zeros were left out", NULL);
	close(fd);
	munmap(p, LEN);
}

struct broken_sink {
	struct page_sink base;
	int left;
};

static int broken_put(struct page_sink *base, const struct batch *b, struct err *err)
{
	struct broken_sink *s = (struct broken_sink *)base;

	return s->left-- ? 0 : err_set(err, ERR_RESOURCE, 28, "the disk is full");
}

/* A failure of the writing thread ends the reading and comes back as it is. */
static void test_full_disk(struct rig *r)
{
	enum { LEN = 12 << 20 };
	uint8_t *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct task_span span = { (uint64_t)p, (uint64_t)p + LEN, RUN_PRESENT, true, false };

	for (int left = 0; left < 12; left += 4) {
		struct broken_sink sink = { { .put = broken_put }, left };
		struct page_stats stats = { 0 };
		struct err err = ERR_INIT;
		struct task_feed feed;
		int rc = task_feed_open(&feed, getpid(), &span, 1, &err);

		if (rc == 0)
			rc = pages_pump(&feed.base, &sink.base, &stats, &err);
		task_feed_close(&feed);
		tap_ok(&r->tap, rc == -28 && err.number == 28, "a full disk ends the work", NULL);
	}
	munmap(p, LEN);
}

int main(void)
{
	struct rig r = { .dir = "/tmp/torpor-pagemap-XXXXXX", .arena = arena_new() };
	struct err err = ERR_INIT;
	int dirfd;

	if (!mkdtemp(r.dir) || (dirfd = open(r.dir, O_RDONLY | O_DIRECTORY)) < 0 ||
		image_set_open(dirfd, true, &r.set, &err) < 0)
		return 1;
	test_dialects(&r);
	test_damaged(&r);
	test_missing(&r);
	test_round_trip(&r);
	test_full_disk(&r);
	image_set_discard(r.set);
	image_set_close(r.set);
	arena_free(r.arena);
	close(dirfd);
	rmdir(r.dir);
	return tap_done(&r.tap);
}
