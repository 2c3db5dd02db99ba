// SPDX-License-Identifier: GPL-2.0-or-later
/* See names/leftovers.h. */
#include "names/leftovers.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/table.h"
#include "image/image.h"
#include "kernel/nft.h"
#include "names/netlock.h"
#include "proto/messages.h"
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define TABLE_PREFIX "CRIU-"

struct hunt {
	struct leftovers *found;
	bool everywhere;
	const char *table; /* of the images in the directory, when only one is asked for */
	const char *directory;
};

static char *keep(struct leftovers *l, const char *text)
{
	return text ? arena_strdup(l->arena, text) : NULL;
}

/* ---- journals ---- */

/* Run id of complete images in the directory; "" if it cannot be read (a cipher), NULL: none. */
static void complete_run(int dirfd, struct arena *a, const char **ret)
{
	struct image_set *set = NULL;
	struct image_reader *r = NULL;
	InventoryEntry *inv = NULL;
	struct err ignored = ERR_INIT;

	*ret = faccessat(dirfd, "inventory.img", F_OK, 0) == 0 ? "" : NULL;
	if (image_set_open(dirfd, false, &set, &ignored) == 0 &&
		image_open(set, IMG_INVENTORY, 0, &r, &ignored) == 0 && r &&
		image_next(r, a, &inv, &ignored) > 0 && inv->dump_criu_run_id)
		*ret = inv->dump_criu_run_id;
	image_reader_close(r);
	image_set_close(set);
}

static bool is_same_boot(const struct journal_run *run)
{
	char now[37];

	return journal_boot_id(now) && !strcmp(now, run->boot);
}

static bool is_at_work(const struct journal_run *run)
{
	return run->pid != getpid() && run->since && journal_process_start(run->pid) == run->since;
}

static bool is_out_of_reach(const struct leftovers *l, const struct effect *e)
{
	return e->path && e->path[0] == '/' && silent_meets(&l->silent, e->path, false);
}

static uint64_t effect_key(const struct effect *e)
{
	uint64_t key = table_key(table_key((uint64_t)e->kind, (uint64_t)e->pid), e->since);

	for (const char *p = e->path ? e->path : ""; *p; p++)
		key = table_key(key, (unsigned char)*p);
	return table_key(table_key(key, e->dev), e->ino);
}

/* A restore that failed may have noted what its dump had noted before. */
static void list_once(struct leftovers *l, struct table *seen, const struct leftover *o)
{
	uint64_t key = effect_key(&o->effect);
	uintptr_t at = (uintptr_t)table_get(seen, key); /* 1 + index */

	if (at) {
		l->list.at[at - 1].needed |= o->needed;
		l->list.at[at - 1].busy |= o->busy;
		vec_push(&l->again, *o);
		return;
	}
	vec_push(&l->list, *o);
	table_put(seen, key, (void *)(uintptr_t)l->list.n);
}

/* Everything of the journal that is not crossed out and still stands. */
static int take_journal(struct hunt *h, int dirfd, const char *path, struct err *err)
{
	struct leftovers *l = h->found;
	struct journal_view view;
	struct effect_item *items = NULL;
	const char *complete = NULL;
	struct table seen = { 0 };
	int r = journal_read(dirfd, l->arena, &view, err);

	if (view.found)
		vec_push(&l->directories, path);
	if (r == 0 && view.effects.n) {
		complete_run(dirfd, l->arena, &complete);
		items = arena_array(l->arena, view.effects.n, sizeof(*items));
		for (size_t i = 0; i < view.effects.n; i++) {
			/* What was crossed out is not on this host, as far as looking goes. */
			items[i].e = &view.effects.at[i].effect;
			items[i].same_boot = is_same_boot(view.effects.at[i].run);
			items[i].silent = is_out_of_reach(l, &view.effects.at[i].effect);
		}
		r = effects_look(items, view.effects.n, err);
	}
	for (size_t i = 0; r == 0 && i < view.effects.n; i++) {
		const struct journal_effect *e = &view.effects.at[i];
		struct leftover o = { .effect = e->effect, .state = items[i].state,
			.directory = path, .id = e->id };

		if (e->gone)
			continue;
		if (o.state == EFFECT_ABSENT) {
			if (items[i].same_boot && !is_at_work(e->run))
				vec_push(&l->absent, o);
			continue;
		}
		if (o.state == EFFECT_OURS && !view.trusted)
			o.state = EFFECT_UNPROVEN;
		o.needed = complete && (!*complete || !strcmp(complete, e->run->id));
		o.busy = items[i].same_boot && is_at_work(e->run);
		list_once(l, &seen, &o);
	}
	vec_done(&view.effects);
	table_done(&seen);
	return r < 0 ? err_while(err, "looking into '%s'", path) : 0;
}

/* Where this entry of the index leads; false: to nowhere. */
static bool read_index(DIR *dir, const char *name, char path[PATH_MAX])
{
	ssize_t n = readlinkat(dirfd(dir), name, path, PATH_MAX - 1);

	if (n > 0)
		path[n] = '\0';
	return n > 0;
}

/* One journal that cannot be read does not hide the others. */
static void take_index(struct hunt *h)
{
	auto_dir DIR *dir = opendir(JOURNAL_INDEX);
	struct leftovers *l = h->found;
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		struct err err = ERR_INIT;
		char path[PATH_MAX];
		const struct mount_line *silent;
		auto_close int fd = -1;

		if (!read_index(dir, d->d_name, path))
			continue;
		silent = silent_meets(&l->silent, path, true);
		if (silent) {
			(void)!silent_refuse(silent, "an images directory", path, &err);
			log_warn("%s; what it tells is not listed", err.text);
			vec_push(&l->unanswered, keep(l, path));
			continue;
		}
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || !journal_is_indexed(d->d_name, fd))
			h->found->index_dead++;
		else if (take_journal(h, fd, keep(h->found, path), &err) < 0)
			log_warn("%s%s; what it tells is not listed", err.text, err.trail);
	}
}

/* ---- names ---- */

static bool is_known(const struct leftovers *l, const struct effect *e)
{
	vec_each(o, &l->list)
		if (o->effect.kind == e->kind && o->effect.path && !strcmp(o->effect.path, e->path) &&
			(e->kind == EFFECT_LINK || (o->effect.ino == e->ino &&
				o->effect.dev == e->dev)))
			return true;
	return false;
}

static void add_named(struct hunt *h, const struct effect *e, enum effect_state state, bool belongs)
{
	struct leftover o = { .effect = *e, .state = state,
		.directory = belongs ? h->directory : NULL, .needed = belongs };

	if (is_known(h->found, e))
		return;
	o.effect.path = keep(h->found, e->path);
	vec_push(&h->found->list, o);
}

static int tables_in_network(uint64_t dev, uint64_t ino, void *ctx, struct err *err)
{
	struct hunt *h = ctx;
	struct nft_tables list = { 0 };
	char path[NETLOCK_TABLE + 8];
	int r = nft_usable() < 0 ? 0 : nft_list_tables(TABLE_PREFIX, &list, err);

	vec_each(t, &list) {
		bool belongs = h->table && !strcmp(h->table, t->name);
		struct effect e = { .kind = EFFECT_NFT_TABLE, .path = path, .dev = dev, .ino = ino,
			.why = "named like the network lock of a dump" };

		snprintf(path, sizeof(path), "inet %s", t->name);
		if (h->everywhere || belongs)
			add_named(h, &e, belongs ? EFFECT_OURS : EFFECT_UNPROVEN, belongs);
	}
	vec_done(&list);
	return r;
}

/* Only in our own network: each look starts a tool. */
static int rules_in_network(struct hunt *h, struct err *err)
{
	struct flow_list list = { 0 };
	struct stat st;
	char text[128];
	int r;

	if (!h->everywhere || stat("/proc/self/ns/net", &st) < 0)
		return 0;
	r = iptables_list(&list, err);
	if (r < 0) {
		log_warn("%s; rules of the network lock are not looked for", err->text);
		err_clear(err);
	}
	vec_each(f, &list) {
		struct effect e = { .kind = EFFECT_IPTABLES, .dev = st.st_dev, .ino = st.st_ino,
			.path = flow_text(f, text, sizeof(text)),
			.why = "has the mark of the network lock of a dump" };

		add_named(h, &e, EFFECT_UNPROVEN, false);
	}
	vec_done(&list);
	return 0;
}

static void take_link(struct hunt *h, const char *path, bool belongs)
{
	struct effect e = { .kind = EFFECT_LINK, .path = path,
		.why = belongs ? "keeps a file that is open without a name until the restore" :
				 "named like the links of --link-remap" };
	struct stat st;
	bool silent;

	if (!effect_is_link_name(path) || path[0] != '/')
		return;
	silent = is_out_of_reach(h->found, &e);
	if (!silent && lstat(path, &st) < 0)
		return;
	e.dev = silent ? 0 : st.st_dev;
	e.ino = silent ? 0 : st.st_ino;
	add_named(h, &e, silent ? EFFECT_UNKNOWN : belongs ? EFFECT_OURS : EFFECT_UNPROVEN, belongs);
}

/* The links which the images of a directory count on. */
static void links_of_images(struct hunt *h, int dirfd)
{
	struct image_set *set = NULL;
	struct image_reader *r = NULL;
	struct err ignored = ERR_INIT;
	FileEntry *fe;

	if (image_set_open(dirfd, false, &set, &ignored) == 0 &&
		image_open(set, IMG_FILES, 0, &r, &ignored) == 0 && r)
		while (image_next(r, h->found->arena, &fe, &ignored) > 0)
			if (fe->reg && fe->reg->name)
				take_link(h, fe->reg->name, true);
	image_reader_close(r);
	image_set_close(set);
}

/* Depth first, within one file system, links are not followed. */
static int search_folder(struct hunt *h, int parent, const char *path, dev_t dev, unsigned depth)
{
	int fd = openat(parent, path[0] == '/' && parent == AT_FDCWD ? path : strrchr(path, '/') + 1,
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	char below[PATH_MAX];
	struct dirent *d;
	struct stat st;

	if (!dir)
		return -errno;
	while (depth && (d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") ||
			snprintf(below, sizeof(below), "%s/%s", strcmp(path, "/") ? path : "",
				d->d_name) >= PATH_MAX ||
			silent_is_point(&h->found->silent, below) ||
			fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev)
			continue;
		if (S_ISDIR(st.st_mode))
			(void)!search_folder(h, fd, below, dev, depth - 1);
		else
			take_link(h, below, false);
	}
	return 0;
}

static int search_links(struct hunt *h, const char *folder, struct err *err)
{
	const struct mount_line *silent = silent_meets(&h->found->silent, folder, true);
	auto_free char *path = silent ? NULL : realpath(folder, NULL);
	struct stat st;
	int r = silent ? silent_refuse(silent, "the folder to search", folder, err) :
		path && stat(path, &st) == 0 ? 0 : -errno;

	if (r == 0)
		r = search_folder(h, AT_FDCWD, path, st.st_dev, 512);
	return r < 0 && !silent ? err_sysn(err, -r, "cannot search '%s'", folder) : r;
}

/* ---- both ---- */

static int take_directory(struct hunt *h, const char *path, struct err *err)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char table[NETLOCK_TABLE];
	const char *run = NULL;
	int r;

	if (fd < 0)
		return err_sys(err, "cannot open the images directory '%s'", path);
	h->directory = keep(h->found, path);
	r = take_journal(h, fd, h->directory, err);
	complete_run(fd, h->found->arena, &run);
	if (run && *run)
		h->table = keep(h->found, netlock_table(run, 0, table));
	links_of_images(h, fd);
	return r;
}

int leftovers_find(const char *directory, char *const *search, size_t n_search, unsigned timeout_s,
	struct leftovers *ret, struct err *err)
{
	struct hunt h = { .found = ret, .everywhere = !directory };
	int r;

	*ret = (struct leftovers){ .arena = arena_new() };
	r = silent_find(ret->arena, timeout_s, &ret->silent, err);
	if (r == 0 && directory)
		r = take_directory(&h, directory, err);
	else if (r == 0)
		take_index(&h);
	if (r == 0)
		r = effect_each_network(tables_in_network, &h, err);
	if (r == 0)
		r = rules_in_network(&h, err);
	for (size_t i = 0; i < n_search && r == 0; i++)
		r = search_links(&h, search[i], err);
	return r;
}

/* The journal that is being brought up to date. */
struct open_journal {
	const char *directory;
	int fd;
	struct journal *j;
};

static void open_journal_close(struct open_journal *o)
{
	journal_close(o->j);
	if (o->fd >= 0)
		close(o->fd);
	*o = (struct open_journal){ .fd = -1 };
}

static void cross_out_one(struct open_journal *o, const struct leftover *x)
{
	struct err ignored = ERR_INIT;

	if (!o->directory || strcmp(o->directory, x->directory)) {
		open_journal_close(o);
		o->directory = x->directory;
		o->fd = open(x->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (o->fd < 0 || journal_open(o->fd, "leftovers", &o->j, &ignored) < 0)
			o->j = NULL;
	}
	if (o->j)
		journal_gone(o->j, x->id);
}

static uint64_t removed_key(const struct leftover *x)
{
	return table_key(effect_key(&x->effect), (uintptr_t)x->directory);
}

/* What went, in the journal of each directory that told of it, and what never was. */
static void cross_out(struct leftovers *l)
{
	struct open_journal o = { .fd = -1 };
	struct table removed = { 0 };

	vec_each(x, &l->absent)
		cross_out_one(&o, x);
	open_journal_close(&o);
	vec_each(x, &l->list) {
		if (!x->remove || !x->id)
			continue;
		table_put(&removed, removed_key(x), l);
		cross_out_one(&o, x);
	}
	vec_each(x, &l->again)
		if (table_get(&removed, removed_key(x)))
			cross_out_one(&o, x);
	open_journal_close(&o);
	table_done(&removed);
}

/* Journals without any effect. */
static void tidy(const struct leftovers *l)
{
	vec_each(path, &l->directories) {
		auto_close int fd = open(*path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0)
			journal_tidy(fd);
	}
}

/* Entries of the index which lead nowhere. */
static void prune_index(const struct leftovers *l)
{
	auto_dir DIR *dir = opendir(JOURNAL_INDEX);
	struct dirent *d;

	while (dir && (d = readdir(dir))) {
		char path[PATH_MAX];
		auto_close int fd = -1;

		if (!read_index(dir, d->d_name, path) || silent_meets(&l->silent, path, true))
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || !journal_is_indexed(d->d_name, fd))
			unlinkat(dirfd(dir), d->d_name, 0);
	}
}

int leftovers_remove(struct leftovers *l, struct err *err)
{
	struct effect_item *items = arena_array(l->arena, l->list.n + 1, sizeof(*items));
	int r;

	for (size_t i = 0; i < l->list.n; i++)
		items[i] = (struct effect_item){ .e = &l->list.at[i].effect, .same_boot = true,
			.remove = l->list.at[i].remove, .state = l->list.at[i].state,
			.silent = l->list.at[i].state == EFFECT_UNKNOWN };
	r = effects_remove(items, l->list.n, err);
	for (size_t i = 0; i < l->list.n; i++)
		l->list.at[i].remove = items[i].remove && items[i].state == EFFECT_ABSENT;
	cross_out(l);
	tidy(l);
	if (r == 0)
		prune_index(l);
	return r;
}

void leftovers_done(struct leftovers *l)
{
	vec_done(&l->list);
	vec_done(&l->again);
	vec_done(&l->absent);
	vec_done(&l->unanswered);
	vec_done(&l->directories);
	arena_free(l->arena);
}

void leftovers_take_back(struct image_set *set, const char *run_id)
{
	struct arena *arena = arena_new();
	struct journal_view view = { 0 };
	struct journal *journal = NULL;
	struct effect_item *items;
	struct err err = ERR_INIT;
	size_t n = 0;
	int r = journal_read(image_set_dirfd(set), arena, &view, &err);

	items = arena_array(arena, view.effects.n + 1, sizeof(*items));
	vec_each(e, &view.effects)
		if (!e->gone && run_id && !strcmp(e->run->id, run_id))
			items[n++] = (struct effect_item){ .e = &e->effect, .remove = true,
				.same_boot = is_same_boot(e->run) };
	if (r == 0 && n)
		r = effects_look(items, n, &err);
	if (r == 0 && n)
		r = effects_remove(items, n, &err);
	if (r == 0 && n)
		r = image_set_journal(set, &journal, &err);
	if (r < 0)
		log_warn("%s; see 'torpor leftovers'", err.text);
	vec_each(e, &view.effects)
		if (r == 0 && journal && !e->gone && !strcmp(e->run->id, run_id))
			journal_gone(journal, e->id);
	vec_done(&view.effects);
	arena_free(arena);
}
