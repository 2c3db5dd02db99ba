/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * storm RESULT SEED: memory that never rests, for increments. Every process maps, unmaps, moves,
 * grows, protects, drops, merges and writes memory of all kinds, by itself and by the kernel, and
 * remembers the version of each page; a page's contents follow from process, address and version.
 * Some pages are verified all the time, all of them at the end. Processes come and go.
 */
#include "subject.h"
#include <poll.h>
#include <sys/uio.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define PAGE 4096ul
#define HUGE (2ul << 20)

enum { REGIONS = 48, PAGES_MAX = 96, BIG_PAGES = 1024, KIDS = 3, FILE_PAGES = 64, WORDS = 8 };
enum kind { NONE, ANON, FILE_COPY, SHARED, BIG, HUGETLB };
enum { ANY = UINT32_MAX }; /* version of a page that may be old or zero */

struct region {
	enum kind kind;
	char *at;
	size_t pages, offset; /* pages; of a file mapping: its offset in pages */
	bool read_only;
	uint64_t owner; /* seed of the stamps */
	uint32_t *versions;
};

static struct region regions[REGIONS];
static uint64_t dice;
static uint32_t version;
static int file, pipes[2];
static bool has_hugetlb;
static pid_t kids[KIDS];
static char *board; /* shared by all processes: one page each */

static unsigned roll(unsigned n)
{
	dice = pattern_next(dice);
	return (dice >> 20) % n;
}

/* ---------------------------------------------------------------------------------- contents */

static void stamp(char page[PAGE], uint64_t owner, uint32_t v)
{
	uint64_t x = ((owner + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)v << 32) | 1;

	memset(page, 0, PAGE);
	for (size_t i = 0; i < WORDS; i++) {
		x = pattern_next(x);
		memcpy(page + (i + 1 == WORDS ? PAGE - 8 : i * 512), &x, 8);
	}
}

static void file_page(char page[PAGE], size_t index)
{
	stamp(page, 0xf11e, index + 1);
}

static bool page_is_right(const struct region *r, size_t i)
{
	char want[PAGE];

	if (r->versions[i] == ANY)
		return true;
	if (r->versions[i])
		stamp(want, r->owner, r->versions[i]);
	else if (r->kind == FILE_COPY)
		file_page(want, r->offset + i);
	else
		memset(want, 0, PAGE);
	return !memcmp(r->at + i * PAGE, want, PAGE);
}

static void verify_page(const struct region *r, size_t i)
{
	if (!page_is_right(r, i))
		fail("process %d: page %zu of %zu (kind %d, version %u) at %p holds %lx", getpid(), i,
			r->pages, r->kind, r->versions[i], (void *)(r->at + i * PAGE),
			*(unsigned long *)(r->at + i * PAGE));
}

/* By an instruction, or by the kernel in different ways. */
static void write_page(struct region *r, size_t i)
{
	char page[PAGE], *to = r->at + i * PAGE;
	struct iovec from = { page, PAGE }, there = { to, PAGE };

	if (r->read_only)
		return;
	stamp(page, r->owner, ++version);
	switch (roll(6)) {
	case 0:
		CHECK(write(pipes[1], page, PAGE) == PAGE && read(pipes[0], to, PAGE) == PAGE);
		break;
	case 1:
		CHECK(process_vm_writev(getpid(), &from, 1, &there, 1, 0) == PAGE);
		break;
	default:
		memcpy(to, page, PAGE);
	}
	r->versions[i] = version;
}

/* ----------------------------------------------------------------------------------- regions */

static void forget(struct region *r)
{
	free(r->versions);
	*r = (struct region){ 0 };
}

static void add_region(char *at, size_t pages, enum kind kind, size_t offset)
{
	for (int i = 0; i < REGIONS; i++) {
		struct region *r = &regions[i];

		if (r->kind)
			continue;
		*r = (struct region){ .kind = kind, .at = at, .pages = pages, .offset = offset,
			.owner = dice, .versions = calloc(pages, sizeof(uint32_t)) };
		CHECK(r->versions);
		return;
	}
	CHECK(munmap(at, pages * PAGE) == 0);
}

static void map_new(void)
{
	const int rw = PROT_READ | PROT_WRITE;
	size_t pages = 1 + roll(PAGES_MAX), offset = roll(FILE_PAGES / 2);
	char *p;

	switch (roll(10)) {
	case 0:
		pages = 1 + roll(FILE_PAGES / 2);
		p = mmap(NULL, pages * PAGE, rw, MAP_PRIVATE, file, offset * PAGE);
		CHECK(p != MAP_FAILED);
		add_region(p, pages, FILE_COPY, offset);
		return;
	case 1:
		p = mmap(NULL, pages * PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
		add_region(p, pages, SHARED, 0);
		return;
	case 2:
		p = mmap(NULL, 2 * HUGE, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
		CHECK(madvise(p, 2 * HUGE, MADV_HUGEPAGE) == 0);
		add_region(p, BIG_PAGES, BIG, 0);
		return;
	case 3:
		p = !has_hugetlb ? MAP_FAILED :
			mmap(NULL, HUGE, rw, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		/* the machine may have no second one for a copy of a child's */
		if (p != MAP_FAILED && madvise(p, HUGE, MADV_DONTFORK) == 0)
			add_region(p, HUGE / PAGE, HUGETLB, 0);
		return;
	default:
		p = mmap(NULL, pages * PAGE, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
		add_region(p, pages, ANON, 0);
	}
}

/* The rest keeps its contents; the hole is sometimes filled at once. */
static void unmap_part(struct region *r)
{
	size_t keep = roll((unsigned)r->pages), gone = r->pages - keep;
	char *at = r->at + keep * PAGE;

	if (r->kind == HUGETLB)
		return;
	CHECK(munmap(at, gone * PAGE) == 0);
	r->pages = keep;
	if (!keep)
		forget(r);
	if (roll(2) && mmap(at, gone * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
			MAP_FIXED_NOREPLACE, -1, 0) == at)
		add_region(at, gone, ANON, 0);
}

/* Advice for a part has made several areas of it: those are not moved together. */
static bool spans_several(const char *p)
{
	return p == MAP_FAILED && errno == EFAULT;
}

/* Grows, shrinks or moves; also to where another region just was. */
static void remap(struct region *r)
{
	size_t pages = 1 + roll(PAGES_MAX);
	struct region *other = &regions[roll(REGIONS)];
	char *p;

	if (r->kind != ANON)
		return;
	if (roll(2) && other != r && other->kind == ANON && other->pages >= r->pages) {
		char *to = other->at;

		CHECK(munmap(other->at, other->pages * PAGE) == 0);
		forget(other);
		p = mremap(r->at, r->pages * PAGE, r->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
		CHECK(p == to || spans_several(p));
		r->at = p == to ? to : r->at;
		return;
	}
	if (roll(4) == 0) {
		p = mremap(r->at, r->pages * PAGE, r->pages * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
			NULL);
		if (spans_several(p))
			return;
		CHECK(p != MAP_FAILED);
		CHECK(munmap(r->at, r->pages * PAGE) == 0);
		r->at = p;
		return;
	}
	p = mremap(r->at, r->pages * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	if (spans_several(p))
		return;
	CHECK(p != MAP_FAILED);
	r->at = p;
	r->versions = reallocarray(r->versions, pages, sizeof(uint32_t));
	CHECK(r->versions);
	for (size_t i = r->pages; i < pages; i++)
		r->versions[i] = 0;
	r->pages = pages;
}

static void advise(struct region *r)
{
	size_t from = roll((unsigned)r->pages), n = 1 + roll((unsigned)(r->pages - from));
	char *at = r->at + from * PAGE;

	if (r->kind == HUGETLB || r->kind == SHARED)
		return;
	switch (roll(8)) {
	case 0:
	case 1:
		CHECK(madvise(at, n * PAGE, MADV_DONTNEED) == 0);
		memset(r->versions + from, 0, n * sizeof(uint32_t));
		break;
	case 2:
		if (r->kind != FILE_COPY && madvise(at, n * PAGE, MADV_FREE) == 0)
			memset(r->versions + from, 0xff, n * sizeof(uint32_t));
		break;
	case 3:
		madvise(at, n * PAGE, MADV_COLD);
		break;
	case 4:
		if (r->kind == BIG)
			madvise(r->at, r->pages * PAGE, MADV_COLLAPSE);
		break;
	case 5:
		madvise(at, n * PAGE, roll(2) ? MADV_DONTFORK : MADV_DOFORK);
		break;
	case 6:
		madvise(at, n * PAGE, roll(2) ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
		break;
	default:
		if (r->kind == ANON)
			madvise(at, n * PAGE, roll(2) ? MADV_MERGEABLE : MADV_UNMERGEABLE);
	}
}

static void protect(struct region *r)
{
	if (r->kind == HUGETLB)
		return;
	r->read_only = !r->read_only;
	CHECK(mprotect(r->at, r->pages * PAGE, r->read_only ? PROT_READ : PROT_READ | PROT_WRITE) ==
		0);
}

/* -------------------------------------------------------------------------------- processes */

static void storm(bool leads);

static void kid(void *arg)
{
	int slot = (int)(intptr_t)arg;

	/* what fork took along is ours now, but for what is shared with the parent or was left out */
	for (int i = 0; i < REGIONS; i++) {
		struct region *r = &regions[i];
		unsigned char there;

		if (r->kind == SHARED)
			munmap(r->at, r->pages * PAGE);
		if (r->kind == SHARED)
			forget(r);
		for (size_t k = 0; r->kind && k < r->pages; k++)
			if (mincore(r->at + k * PAGE, PAGE, &there) < 0) {
				munmap(r->at, r->pages * PAGE);
				forget(r);
			}
	}
	memset(kids, 0, sizeof(kids));
	close(pipes[0]);
	close(pipes[1]);
	CHECK(pipe(pipes) == 0);
	dice = dice * 31 + (uint64_t)slot + 1;
	board += (slot + 1) * PAGE;
	child_up();
	storm(false);
	_exit(0);
}

static void change_kids(void)
{
	int slot = (int)roll(KIDS);
	pid_t old = kids[slot];

	kids[slot] = 0;
	if (old)
		child_end(old);
	if (roll(4))
		kids[slot] = child(kid, (void *)(intptr_t)slot);
}

/* ------------------------------------------------------------------------------------ storm */

static struct region *any_region(void)
{
	struct region *r = &regions[roll(REGIONS)];

	return r->kind ? r : NULL;
}

static void recurse(unsigned depth)
{
	volatile char frame[PAGE];

	frame[0] = (char)depth;
	if (depth)
		recurse(depth - 1);
	CHECK(frame[0] == (char)depth);
}

static void one_change(void)
{
	struct region *r = any_region();
	unsigned what = roll(64);

	if (!r || what < 4) {
		map_new();
	} else if (what < 7) {
		unmap_part(r);
	} else if (what < 10) {
		remap(r);
	} else if (what < 14) {
		advise(r);
	} else if (what < 16) {
		protect(r);
	} else if (what == 16) {
		recurse(roll(24));
	} else if (what == 17) {
		memset(board, (char)++version, PAGE);
	} else if (what < 24) {
		verify_page(r, roll((unsigned)r->pages));
	} else {
		size_t from = roll((unsigned)r->pages), n = 1 + roll(4);

		for (size_t i = from; i < from + n && i < r->pages; i++)
			write_page(r, i);
	}
}

static bool told_to_end(void)
{
	sigset_t set;

	sigpending(&set);
	return sigismember(&set, SIGTERM);
}

static void storm(bool leads)
{
	for (unsigned n = 0; !told_to_end(); n++) {
		one_change();
		if (n % 64 == 0)
			poll(NULL, 0, 1);
		if (leads && n % 2048 == 2047)
			change_kids();
	}
	for (int i = 0; i < REGIONS; i++)
		for (size_t k = 0; regions[i].kind && k < regions[i].pages; k++)
			verify_page(&regions[i], k);
}

int main(int argc, char **argv)
{
	char page[PAGE], *huge;

	subject_init(argc, argv);
	dice = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * 0x9e3779b97f4a7c15u + 1;
	file = open("storm-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
	NEED(file >= 0);
	for (size_t i = 0; i < FILE_PAGES; i++) {
		file_page(page, i);
		NEED(write(file, page, PAGE) == PAGE);
	}
	NEED(pipe(pipes) == 0);
	huge = mmap(NULL, HUGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	has_hugetlb = huge != MAP_FAILED;
	if (has_hugetlb)
		munmap(huge, HUGE);
	board = mmap(NULL, (KIDS + 1) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		0);
	NEED(board != MAP_FAILED);
	for (int i = 0; i < 64; i++)
		map_new();
	ready();
	storm(true);
	for (int i = 0; i < KIDS; i++)
		if (kids[i])
			child_end(kids[i]);
	pass();
}
