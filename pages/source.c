// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Following pages through a chain of parent images. Each directory may hold a link "parent" to the
 * one it was made against; a page marked RUN_PARENT has its bytes in the nearest ancestor that has
 * them. The chain is walked only as deep as such pages reach, with one cursor per level, so the
 * cost is linear in the number of runs.
 */
#include "pages/source.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/table.h"
#include "pages/extent_reader.h"
#include "pages/parent.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct level {
	struct image_set *set;
	const char *name; /* as the link says that leads there; "" for the first */
	struct pagemap map;
	size_t at; /* first run that may still matter */
};

struct walk {
	struct arena *arena;
	enum image_id type;
	unsigned long id;
	struct vec_of(struct level) levels;
	struct table met; /* directories; they must not come in a circle */
	struct page_source *out;
	enum page_choice choice;
};

static int level_open(struct walk *w, struct image_set *set, const char *name, struct err *err)
{
	struct level l = { .set = set, .name = name };
	struct page_layer layer = { .fd = -1 };
	struct stat st;
	uint64_t key;
	int r;

	if (fstat(image_set_dirfd(set), &st) < 0)
		return err_sys(err, "cannot examine a directory of images");
	vec_push(&w->out->layers, layer);
	vec_push(&w->levels, l);
	key = table_key(st.st_dev, st.st_ino);
	if (table_get(&w->met, key))
		return err_image(err, "the links to parent images lead in a circle ('%s')", name);
	table_put(&w->met, key, w);
	r = pagemap_load(set, w->type, w->id, w->arena, &w->levels.at[w->levels.n - 1].map, err);
	return r < 0 && *name ? err_while(err, "reading the parent images '%s'", name) : r;
}

/* "pagemap-7.img: page 0x7000" */
static const char *page_text(const struct walk *w, uint64_t vaddr)
{
	char name[64];

	return arena_printf(w->arena, "%s: page 0x%lx", image_name(w->type, w->id, name, sizeof(name)),
		vaddr);
}

/* The set behind the deepest level so far. */
static int level_descend(struct walk *w, uint64_t vaddr, struct err *err)
{
	const struct level *l = &w->levels.at[w->levels.n - 1];
	struct image_set *parent;
	const char *name;
	int r = parent_set_open(l->set, w->arena, &parent, &name, err);

	if (r < 0)
		return err_while(err, "looking for %s", page_text(w, vaddr));
	if (!parent)
		return err_image(err, "%s is in parent images, but %s%s%s no link 'parent'",
			page_text(w, vaddr), *l->name ? "the set '" : "this set has", l->name,
			*l->name ? "' has" : "");
	r = image_set_check_parent(l->set, parent, err);
	if (r == 0)
		r = level_open(w, parent, name, err);
	if (r < 0 && w->levels.at[w->levels.n - 1].set != parent)
		parent_set_close(parent);
	return r;
}

static int layer_filters(const struct walk *w, const struct level *l, struct page_layer *layer,
	struct err *err)
{
	struct extent_file f = { .fd = layer->fd, .object = l->map.object,
		.extents = l->map.extents, .n = l->map.n_extents };
	struct filter_chain *chain;
	int r = filter_chain_of(l->set, &chain, err);

	if (r < 0)
		return r;
	if (!chain)
		return err_image(err, "pages-%u.img is filtered, but the set has no filters",
			l->map.pages_id);
	extent_common(l->set, w->type, w->id, &f.common);
	f.take_chain = filter_chain_keep(chain);
	layer->filtered = extent_reader_new(&f);
	return 0;
}

static int layer_use(struct walk *w, size_t depth, struct err *err)
{
	struct page_layer *layer = &w->out->layers.at[depth];
	const struct level *l = &w->levels.at[depth];
	struct stat st;
	int r;

	if (layer->fd >= 0)
		return 0;
	r = image_open_raw(l->set, IMG_PAGES, l->map.pages_id, &layer->fd, err);
	if (r < 0)
		return r;
	if (fstat(layer->fd, &st) < 0)
		return err_sys(err, "cannot examine pages-%u.img", l->map.pages_id);
	layer->len = (uint64_t)st.st_size;
	return l->map.filtered ? layer_filters(w, l, layer, err) : 0;
}

static bool is_wanted(const struct walk *w, const struct run *run)
{
	bool lazy = run->flags & RUN_LAZY;

	return w->choice == PAGES_ALL || lazy == (w->choice == PAGES_LAZY);
}

static int segment_add(struct walk *w, size_t depth, const struct run *run, uint64_t lo,
	uint64_t hi, struct err *err)
{
	struct page_segment seg = { .vaddr = lo, .pages = (hi - lo) / PAGE,
		.offset = run->offset + (lo - run->vaddr), .layer = (uint32_t)depth };
	bool remote = !(run->flags & RUN_PRESENT);

	if (remote && w->choice != PAGES_LAZY)
		return err_image(err, "%s was left behind by dump --lazy-pages; it can only be restored "
			"with --lazy-pages", page_text(w, lo));
	if (remote) {
		seg.layer = PAGE_LAYER_REMOTE;
		seg.offset = 0;
	}
	vec_push(&w->out->segments, seg);
	return remote ? 0 : layer_use(w, depth, err);
}

/*
 * Segments for [lo, hi) as level `depth` knows it. Below the first level every page must be found;
 * in the first one gaps are pages that nobody stored.
 */
static int resolve(struct walk *w, size_t depth, uint64_t lo, uint64_t hi, struct err *err)
{
	int r = depth < w->levels.n ? 0 : level_descend(w, lo, err);

	while (r == 0 && lo < hi) {
		struct level *l = &w->levels.at[depth];
		const struct run *run;
		uint64_t end, from;

		while (l->at < l->map.n &&
			l->map.runs[l->at].vaddr + l->map.runs[l->at].pages * PAGE <= lo)
			l->at++;
		run = l->at < l->map.n ? &l->map.runs[l->at] : NULL;
		from = run && run->vaddr > lo ? run->vaddr : lo;
		if (depth > 0 && (!run || from > lo))
			return err_image(err, "%s is in the parent images '%s' (%zu links up), which "
				"do not have it", page_text(w, lo), l->name, depth);
		if (!run || from >= hi)
			return 0;
		end = run->vaddr + run->pages * PAGE;
		end = end < hi ? end : hi;
		if (run->flags & RUN_PARENT && !(run->flags & RUN_PRESENT))
			r = resolve(w, depth + 1, from, end, err);
		else if (is_wanted(w, run))
			r = segment_add(w, depth, run, from, end, err);
		lo = end;
	}
	return r;
}

static void walk_done(struct walk *w)
{
	for (size_t i = 1; i < w->levels.n; i++)
		parent_set_close(w->levels.at[i].set);
	vec_done(&w->levels);
	table_done(&w->met);
	arena_free(w->arena);
}

int page_source_open(struct image_set *set, enum image_id type, unsigned long id,
	struct page_source *ret, struct err *err)
{
	return page_source_open_some(set, type, id, PAGES_ALL, ret, err);
}

int page_source_open_some(struct image_set *set, enum image_id type, unsigned long id,
	enum page_choice choice, struct page_source *ret, struct err *err)
{
	struct walk w = { .type = type, .id = id, .out = ret, .choice = choice };
	int r;

	*ret = (struct page_source){ 0 };
	w.arena = arena_new();
	r = level_open(&w, set, "", err);
	if (r == 0 && w.levels.at[0].map.n)
		r = resolve(&w, 0, 0, ~(uint64_t)(PAGE - 1), err);
	walk_done(&w);
	if (r < 0)
		page_source_close(ret);
	return r;
}

/* ------------------------------------------------------------------------------------- reading */

int page_layer_read(struct page_layer *l, uint64_t offset, uint64_t len, void *buf,
	struct err *err)
{
	int r;

	if (l->filtered)
		return extent_reader_get(l->filtered, offset, len, buf, err);
	if (l->map) {
		memcpy(buf, l->map + offset, len);
		return 0;
	}
	r = io_pread_all(l->fd, buf, len, (off_t)offset);
	return r < 0 ? err_sysn(err, -r, "cannot read %lu bytes of a pages file at %lu", len,
			       offset) : 0;
}

int page_source_read(struct page_source *s, const struct page_segment *seg, uint64_t vaddr,
	uint64_t pages, void *buf, struct err *err)
{
	return page_layer_read(&s->layers.at[seg->layer], seg->offset + (vaddr - seg->vaddr),
		pages * PAGE, buf, err);
}

int page_source_view(struct page_source *s, const struct page_segment *seg, uint64_t vaddr,
	uint64_t pages, uint8_t *buf, const uint8_t **ret, struct err *err)
{
	const struct page_layer *l = &s->layers.at[seg->layer];

	*ret = buf;
	if (l->filtered || !l->map)
		return page_source_read(s, seg, vaddr, pages, buf, err);
	*ret = l->map + seg->offset + (vaddr - seg->vaddr);
	return 0;
}

int page_source_map(struct page_source *s, struct err *err)
{
	vec_each(layer, &s->layers) {
		void *p;

		if (layer->fd < 0 || layer->map || !layer->len)
			continue;
		p = mmap(NULL, layer->len, PROT_READ, MAP_SHARED, layer->fd, 0);
		if (p == MAP_FAILED)
			return err_sys(err, "cannot map a pages file of %lu bytes", layer->len);
		layer->map = p;
		if (layer->filtered)
			extent_reader_use_map(layer->filtered, p);
	}
	return 0;
}

uint64_t page_source_filtered(const struct page_source *s)
{
	uint64_t pages = 0;

	vec_each(seg, &s->segments)
		pages += s->layers.at[seg->layer].filtered ? seg->pages : 0;
	return pages * PAGE;
}

void page_source_use_crew(struct page_source *s, struct crew *crew)
{
	vec_each(layer, &s->layers)
		if (layer->filtered)
			extent_reader_use_crew(layer->filtered, crew);
}

void page_source_forget(struct page_source *s)
{
	vec_each(layer, &s->layers)
		if (layer->filtered)
			extent_reader_forget(layer->filtered);
}

void page_source_close_files(struct page_source *s)
{
	vec_each(layer, &s->layers) {
		if (layer->fd >= 0)
			close(layer->fd);
		layer->fd = -1;
	}
}

void page_source_close(struct page_source *s)
{
	vec_each(layer, &s->layers) {
		extent_reader_free(layer->filtered);
		if (layer->map)
			munmap((void *)(uintptr_t)layer->map, layer->len);
	}
	page_source_close_files(s);
	vec_done(&s->layers);
	vec_done(&s->segments);
}
