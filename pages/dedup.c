// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One walk per pagemap of the newest set: each range that it has itself is looked for in the parent;
 * what that has is freed, what it leaves to its own parent is looked for there. Then the same from
 * the parent on. Cursors move forward only, so the cost is linear in the runs of each pair.
 */
#include "pages/dedup.h"
#include "base/arena.h"
#include "pages/pages.h"
#include "pages/parent.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

/* One set of the chain, as far as one pagemap is concerned. */
struct level {
	struct image_set *set;
	struct pagemap map;
	size_t at; /* first run that may still matter */
	int fd; /* of the pages file, -1 until something is freed */
	uint64_t start, end; /* bytes that will be freed; may still grow */
	size_t extent; /* filtered: the one that `replaced` counts */
	uint64_t replaced; /* bytes of its pages */
	uint64_t room; /* of the pages file at first */
};

struct levels vec_of(struct level);

struct walk {
	enum image_id type;
	unsigned long id;
	struct arena *arena;
	struct image_set *const *sets; /* from the one that replaces on */
	size_t n_sets;
	struct levels levels; /* of the first sets, as far as they were needed */
};

/* ---- freeing ---- */

static uint64_t room_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

static int open_pages(struct level *l, struct err *err)
{
	char name[64];

	if (l->fd >= 0)
		return 0;
	image_name(IMG_PAGES, l->map.pages_id, name, sizeof(name));
	l->fd = openat(image_set_dirfd(l->set), name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (l->fd < 0)
		return err_sys(err, "cannot open '%s' to free parts of it", name);
	l->room = room_of(l->fd);
	return 0;
}

static int punch(struct level *l, struct err *err)
{
	uint64_t len = l->end - l->start;
	int r;

	if (!len)
		return 0;
	r = open_pages(l, err);
	if (r < 0)
		return r;
	if (fallocate(l->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)l->start,
			(off_t)len) < 0)
		return errno == EOPNOTSUPP ?
			err_unsupported(err, "the file system of the images cannot free parts of "
				"files (pages-%u.img)", l->map.pages_id) :
			err_sys(err, "cannot free a part of pages-%u.img", l->map.pages_id);
	l->start = l->end;
	return 0;
}

/* Bytes of the pages file, in ascending order. */
static int free_bytes(struct level *l, uint64_t start, uint64_t len, struct err *err)
{
	int r = 0;

	if (l->end != start) {
		r = punch(l, err);
		l->start = start;
	}
	l->end = start + len;
	return r;
}

/* Pages by their offset (struct run), in ascending order. An extent goes as a whole. */
static int free_pages(struct level *l, uint64_t offset, uint64_t len, struct err *err)
{
	int r = 0;

	if (!l->map.filtered)
		return free_bytes(l, offset, len, err);
	while (len && r == 0) {
		const struct extent *x = &l->map.extents[l->extent];
		uint64_t part;

		if (offset >= x->offset + x->length) {
			l->extent++;
			l->replaced = 0;
			continue;
		}
		part = x->offset + x->length - offset;
		part = part < len ? part : len;
		l->replaced += part;
		offset += part;
		len -= part;
		if (l->replaced == x->length)
			r = free_bytes(l, x->at, x->bytes, err);
	}
	return r;
}

/* ---- the chain ---- */

/* The level of that depth; *ret is NULL behind the last set. */
static int level_at(struct walk *w, size_t depth, struct level **ret, struct err *err)
{
	*ret = NULL;
	while (w->levels.n <= depth && w->levels.n < w->n_sets) {
		struct level l = { .set = w->sets[w->levels.n], .fd = -1 };
		int r = pagemap_load(l.set, w->type, w->id, w->arena, &l.map, err);

		if (r < 0)
			return r;
		vec_push(&w->levels, l);
	}
	if (depth < w->levels.n)
		*ret = &w->levels.at[depth];
	return 0;
}

static uint64_t run_end(const struct run *run)
{
	return run->vaddr + run->pages * PAGE;
}

/* Frees what the set at `depth`, or one behind it, has of [lo, hi). */
static int free_range(struct walk *w, size_t depth, uint64_t lo, uint64_t hi, struct err *err)
{
	struct level *l;
	int r = level_at(w, depth, &l, err);

	while (r == 0 && l && l->at < l->map.n && run_end(&l->map.runs[l->at]) <= lo)
		l->at++;
	for (size_t i = l ? l->at : 0; r == 0 && l && i < l->map.n; i++) {
		const struct run *run = &l->map.runs[i];
		uint64_t start = run->vaddr > lo ? run->vaddr : lo;
		uint64_t end = run_end(run) < hi ? run_end(run) : hi;

		if (start >= end)
			break;
		if (run->flags & RUN_PRESENT)
			r = free_pages(l, run->offset + (start - run->vaddr), end - start, err);
		else if (run->flags & RUN_PARENT)
			r = free_range(w, depth + 1, start, end, err);
		if (r == 0) /* the walk may have moved it */
			r = level_at(w, depth, &l, err);
	}
	return r;
}

/* All that the first set has itself is freed behind it. */
static int free_replaced(struct walk *w, struct err *err)
{
	struct level *first;
	int r = level_at(w, 0, &first, err);
	const struct pagemap map = r == 0 ? first->map : (struct pagemap){ 0 };

	for (size_t i = 0; i < map.n && r == 0; i++)
		if (map.runs[i].flags & RUN_PRESENT)
			r = free_range(w, 1, map.runs[i].vaddr, run_end(&map.runs[i]), err);
	return r;
}

/* All that a restore reads. */
static int free_all(struct walk *w, struct err *err)
{
	return free_range(w, 0, 0, ~(uint64_t)(PAGE - 1), err);
}

static int walk_chain(struct walk w, int (*work)(struct walk *w, struct err *err),
	uint64_t *ret_bytes, struct err *err)
{
	int r;

	w.arena = arena_new();
	r = work(&w, err);
	vec_each(l, &w.levels) {
		if (r == 0)
			r = punch(l, err);
		if (l->fd < 0)
			continue;
		*ret_bytes += l->room - room_of(l->fd);
		close(l->fd);
	}
	vec_done(&w.levels);
	arena_free(w.arena);
	return r;
}

/* ---- sets ---- */

struct sets vec_of(struct image_set *);

static int open_chain(struct image_set *set, struct sets *ret, struct err *err)
{
	struct arena *a = arena_new();
	struct page_parent *checked;
	struct image_set *at = set;
	const char *name;
	int r = parent_open(set, &checked, err); /* it leads somewhere, and not in a circle */

	parent_close(r < 0 ? NULL : checked);
	while (r == 0 && at) {
		vec_push(ret, at);
		r = parent_set_open(at, a, &at, &name, err);
	}
	arena_free(a);
	return r;
}

static void close_chain(struct sets *sets)
{
	for (size_t i = 1; i < sets->n; i++)
		parent_set_close(sets->at[i]);
	vec_done(sets);
}

/* What the first of the sets replaces in the others. */
static int dedup_behind(struct image_set *const *sets, size_t n, uint64_t *ret_bytes,
	struct err *err)
{
	struct image_list found = { 0 };
	int r = image_set_scan(sets[0], &found, err);

	vec_each(f, &found)
		if (r == 0 && (f->type == IMG_PAGEMAP || f->type == IMG_PAGEMAP_SHMEM))
			r = walk_chain((struct walk){ .type = f->type, .id = f->id, .sets = sets,
					       .n_sets = n }, free_replaced, ret_bytes, err);
	vec_done(&found);
	return r;
}

int dedup_parents(struct image_set *set, bool all, uint64_t *ret_bytes, struct err *err)
{
	struct sets sets = { 0 };
	int r = open_chain(set, &sets, err);

	*ret_bytes = 0;
	for (size_t i = 0; i + 1 < sets.n && (all || i == 0) && r == 0; i++)
		r = dedup_behind(sets.at + i, sets.n - i, ret_bytes, err);
	close_chain(&sets);
	return r;
}

int dedup_used(struct image_set *set, enum image_id type, unsigned long id, uint64_t *ret_bytes,
	struct err *err)
{
	struct sets sets = { 0 };
	int r = open_chain(set, &sets, err);

	*ret_bytes = 0;
	if (r == 0)
		r = walk_chain((struct walk){ .type = type, .id = id, .sets = sets.at,
				       .n_sets = sets.n }, free_all, ret_bytes, err);
	close_chain(&sets);
	return r;
}
