// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What an address space lacks, beside a simple model of it: for each page of a small address space,
 * which saved page belongs there and whether it is still wanted. Random histories of what tasks do to
 * their memory and of what is brought; both must say the same.
 */
#include "pages/lazy_space.h"
#include "tap.h"
#include <stdlib.h>
#include <string.h>

enum { PAGES = 256, BASE = 0x100000, STEPS = 4000, NONE = -1 };

struct model {
	int image[PAGES]; /* saved page that belongs at this page of the space, or NONE */
	bool lacks[PAGES]; /* by saved page */
};

static unsigned long seed = 1;

static unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (unsigned)(seed >> 33) % n;
}

static uint64_t address(int page)
{
	return BASE + (uint64_t)page * PAGE;
}

/* Segments with holes between them; every third page or so is in none. */
static struct lazy_image *make_image(struct model *m)
{
	struct lazy_image *image = calloc(1, sizeof(*image));

	image->refs = 1;
	image->pid = 1;
	for (int p = 0; p < PAGES; p++) {
		m->image[p] = NONE;
		m->lacks[p] = false;
	}
	for (int p = 0; p < PAGES;) {
		int n = 1 + (int)rnd(20), gap = (int)rnd(10);

		n = n < PAGES - p ? n : PAGES - p;
		vec_push(&image->source.segments,
			((struct page_segment){ .vaddr = address(p), .pages = (uint64_t)n }));
		for (int i = p; i < p + n; i++) {
			m->image[i] = i;
			m->lacks[i] = true;
		}
		p += n + gap;
	}
	image->first = calloc(image->source.segments.n + 1, sizeof(*image->first));
	vec_each(seg, &image->source.segments) {
		image->first[seg - image->source.segments.at] = image->pages;
		image->pages += seg->pages;
	}
	return image;
}

static int page_of(uint64_t at)
{
	return (int)((at - BASE) / PAGE);
}

/* What the space says of each page is what the model says. */
static bool agree(const struct lazy_space *s, const struct model *m)
{
	uint64_t left = 0;

	for (int p = 0; p < PAGES; p++) {
		bool lacks = m->image[p] != NONE && m->lacks[m->image[p]];
		struct lazy_range r;
		bool found = lazy_space_find(s, address(p), 8, &r);

		left += m->lacks[p];
		if (found != lacks || (found && r.at != address(p)) ||
			(found && page_of(r.image) != m->image[p]))
			return false;
		for (uint64_t i = 0; found && i < r.pages; i++)
			if (p + (int)i >= PAGES || m->image[p + (int)i] != m->image[p] + (int)i ||
				!m->lacks[m->image[p] + (int)i])
				return false;
	}
	return left == s->left;
}

static void drop(struct lazy_space *s, struct model *m, int start, int n)
{
	lazy_space_drop(s, address(start), address(start + n));
	for (int p = start; p < start + n; p++)
		if (m->image[p] != NONE)
			m->lacks[m->image[p]] = false;
}

/* As mremap(2): what was there before is unmapped, and its event comes first. */
static void move(struct lazy_space *s, struct model *m, int from, int to, int n)
{
	int carried[PAGES];

	if (from < to + n && to < from + n)
		return;
	drop(s, m, to, n);
	lazy_space_move(s, address(from), address(to), (uint64_t)n * PAGE);
	memcpy(carried, m->image + from, (size_t)n * sizeof(int));
	for (int i = 0; i < n; i++) {
		m->image[from + i] = NONE;
		m->image[to + i] = carried[i];
	}
}

static void brought(struct lazy_space *s, struct model *m, const struct lazy_range *r)
{
	lazy_space_brought(s, r, r->pages);
	for (uint64_t i = 0; i < r->pages; i++)
		m->lacks[page_of(r->image) + (int)i] = false;
}

static bool history(unsigned long with)
{
	struct lazy_space s, copy;
	struct model m;
	struct lazy_range r;
	bool same = true;

	seed = with;
	lazy_space_init(&s, make_image(&m));
	for (int step = 0; step < STEPS && s.left && same; step++) {
		int n = 1 + (int)rnd(12), start = (int)rnd(PAGES - 12), to = (int)rnd(PAGES - 12);

		switch (rnd(8)) {
		case 0:
			drop(&s, &m, start, 1);
			break;
		case 1:
		case 2:
		case 3:
			move(&s, &m, start, to, n);
			break;
		case 4: /* a fork: the copy goes on, the old one ends */
			lazy_space_copy(&copy, &s);
			lazy_space_done(&s);
			s = copy;
			break;
		default:
			if (lazy_space_find(&s, address(start), 2, &r))
				brought(&s, &m, &r);
		}
		same = agree(&s, &m);
	}
	/* the rest, whatever has happened */
	while (same && s.left) {
		same = lazy_space_next(&s, 7, &r);
		if (same)
			brought(&s, &m, &r);
		same = same && agree(&s, &m);
	}
	lazy_space_done(&s);
	return same;
}

static struct lazy_image *image_of(uint64_t vaddr, uint64_t pages)
{
	struct lazy_image *image = calloc(1, sizeof(*image));

	image->refs = 1;
	image->pages = pages;
	vec_push(&image->source.segments, ((struct page_segment){ .vaddr = vaddr, .pages = pages }));
	image->first = calloc(2, sizeof(*image->first));
	return image;
}

static void ok(struct tap *t, bool good, const char *what)
{
	const struct err none = ERR_INIT;

	tap_ok(t, good, what, &none);
}

static void goes_on_behind_a_fault(struct tap *t)
{
	struct lazy_space s;
	struct lazy_range r;

	lazy_space_init(&s, image_of(BASE, 100));
	ok(t, lazy_space_next(&s, 10, &r) && r.image == BASE, "the background begins at the beginning");
	lazy_space_brought(&s, &r, r.pages);
	ok(t, lazy_space_find(&s, address(50), 4, &r) && r.pages == 4, "a fault in the middle");
	lazy_space_brought(&s, &r, r.pages);
	lazy_space_follow(&s, &r);
	ok(t, lazy_space_next(&s, 10, &r) && r.image == address(54), "it goes on behind the fault");
	lazy_space_brought(&s, &r, r.pages);
	ok(t, lazy_space_find(&s, address(96), 4, &r), "a fault at the end");
	lazy_space_brought(&s, &r, r.pages);
	lazy_space_follow(&s, &r);
	ok(t, lazy_space_next(&s, 100, &r) && r.image == address(64), "behind the end it goes on in front");
	lazy_space_done(&s);
}

static void huge_pages_come_as_a_whole(struct tap *t)
{
	const uint64_t huge = 2 << 20, start = 64 * huge;
	struct lazy_image *image = image_of(start + 5 * PAGE, 700);
	struct lazy_space s;
	struct lazy_range r;
	uint64_t at, pages;

	vec_push(&image->huge, ((struct lazy_huge){ start, start + 4 * huge, huge }));
	lazy_space_init(&s, image);
	ok(t, lazy_space_find(&s, start + 9 * PAGE, 1, &r) && r.at == start && r.pages == 512 &&
		r.page == huge, "a fault in a huge page wants all of it");
	at = r.image;
	ok(t, lazy_image_piece(image, &at, r.image + huge, &pages) && at == start + 5 * PAGE &&
		pages == 507, "what was not saved of it is no piece");
	at += pages * PAGE;
	ok(t, !lazy_image_piece(image, &at, r.image + huge, &pages), "there is no other piece");
	lazy_space_brought(&s, &r, r.pages);
	ok(t, s.left == 193, "its saved pages are done");
	ok(t, lazy_space_next(&s, 1, &r) && r.at == start + huge && r.pages == 512, "the next one");
	lazy_space_brought(&s, &r, r.pages);
	ok(t, !s.left && !lazy_space_next(&s, 1, &r), "that was all");
	ok(t, !lazy_space_find(&s, start + 3 * huge + PAGE, 1, &r) && r.at == start + 3 * huge &&
		r.page == huge, "an empty huge page is told with its beginning");
	lazy_space_done(&s);
}

int main(void)
{
	struct tap t = { 0 };
	char what[32];

	goes_on_behind_a_fault(&t);
	huge_pages_come_as_a_whole(&t);
	for (unsigned long i = 1; i <= 20; i++) {
		snprintf(what, sizeof(what), "history %lu", i);
		ok(&t, history(i), what);
	}
	return tap_done(&t);
}
