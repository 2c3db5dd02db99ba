/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See names/linkremap.h. Every name stands in the journal before it exists. */
#include "names/linkremap.h"
#include "base/far.h"
#include "base/log.h"
#include "image/journal.h"
#include "names/remap.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SEEN_LINKS = 900, TRIES = 1000 };

struct known_link {
	dev_t dev;
	ino_t ino;
	uint32_t id;
};

static int refuse(const struct link_ask *a, struct err *err)
{
	return err_unsupported(err, "%s is '%s', a name that leads to another file or none now, while "
		"the file has other names (%lu); saving that needs --link-remap, which gives it one "
		"more in that folder until the restore", a->who, a->path,
		(unsigned long)a->st->st_nlink);
}

static int journal_link(const struct link_ask *a, const char *path, uint32_t *ret, struct err *err)
{
	struct effect e = { .kind = EFFECT_LINK, .path = path, .dev = a->st->st_dev,
		.ino = a->st->st_ino, .why = "leads a restore to a file whose name is lost" };
	struct journal *journal;
	int r = image_set_journal(a->images, &journal, err);

	return r < 0 ? r : journal_add(journal, &e, ret, err);
}

static void journal_forget(struct image_set *images, uint32_t effect)
{
	struct err ignored = ERR_INIT;
	struct journal *journal;

	if (image_set_journal(images, &journal, &ignored) == 0)
		journal_gone(journal, effect);
}

/* 1: the name is taken. */
static int try_link(const struct link_ask *a, const char *path, struct err *err)
{
	struct made_link made = { .path = arena_strdup(a->world->arena, path) };
	char self[64];
	int r;

	if (far_access(path, F_OK) == 0)
		return 1;
	r = journal_link(a, path, &made.effect, err);
	if (r < 0)
		return r;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", a->dup);
	if (far_linkat(AT_FDCWD, self, path, AT_SYMLINK_FOLLOW) == 0) {
		vec_push(a->links, made);
		return 0;
	}
	r = errno;
	journal_forget(a->images, made.effect);
	if (r == EEXIST)
		return 1;
	return err_sysn(err, r, "%s is '%s', a lost name of a file, and '%s' cannot be made in its "
		"place (--link-remap)", a->who, a->path, path);
}

/* The entry that the remap message leads to: a name and nothing that is verified. */
static int add_entry(const struct link_ask *a, uint32_t id, const char *path, struct err *err)
{
	FileEntry *fe = arena_msg(a->world->arena, FileEntry, file_entry);
	RegFileEntry *reg = arena_msg(a->world->arena, RegFileEntry, reg_file_entry);

	fe->type = FD_TYPES__REG;
	fe->id = reg->id = id;
	fe->reg = reg;
	reg->name = arena_strdup(a->world->arena, path);
	reg->fown = arena_msg(a->world->arena, FownEntry, fown_entry);
	return world_add_file(a->world, fe, err);
}

static int make_link(const struct link_ask *a, uint32_t *ret_id, struct err *err)
{
	const char *slash = strrchr(a->path, '/');
	char path[PATH_MAX];
	int r = 1;

	if (!slash || S_ISDIR(a->st->st_mode))
		return refuse(a, err);
	/* An earlier dump may have left a name with the same number. */
	for (int i = 0; i < TRIES && r == 1; i++) {
		*ret_id = (*a->next_id)++;
		if (snprintf(path, sizeof(path), "%.*s/link_remap.%u", (int)(slash - a->path), a->path,
			    *ret_id) >= PATH_MAX)
			return refuse(a, err);
		r = try_link(a, path, err);
	}
	if (r == 1)
		return err_target(err, EEXIST, "%s: all names like '%s' are taken; 'torpor leftovers "
			"--clean' removes those of old dumps", a->who, path);
	return r < 0 ? r : add_entry(a, *ret_id, path, err);
}

int linkremap_save(const struct link_ask *a, uint32_t orig_id, struct err *err)
{
	uint64_t key = table_key(table_key(SEEN_LINKS, a->st->st_dev), a->st->st_ino);
	struct known_link *k = table_get(a->seen, key);
	int r;

	if (!a->options->link_remap)
		return refuse(a, err);
	if (k && (k->dev != a->st->st_dev || k->ino != a->st->st_ino))
		return err_bug(err, "%s: two files have the same key", a->who);
	if (!k) {
		k = arena_new_of(a->world->arena, struct known_link);
		k->dev = a->st->st_dev;
		k->ino = a->st->st_ino;
		r = make_link(a, &k->id, err);
		if (r < 0)
			return r;
		table_put(a->seen, key, k);
	}
	remap_add(a->world, orig_id, REMAP_TYPE__LINKED, k->id);
	return 0;
}

void linkremap_undo(struct image_set *images, struct made_links *links)
{
	vec_each(l, links) {
		if (far_unlink(l->path) < 0 && errno != ENOENT)
			log_warn("cannot remove '%s': %s; it stays, see 'torpor leftovers'", l->path,
				strerror(errno));
		else
			journal_forget(images, l->effect);
	}
	links->n = 0;
}

/* The moment under the old name is on record, too: a kill must not leave it there unknown. */
static bool rename_back(struct image_set *images, const char *link, const char *was)
{
	struct err ignored = ERR_INIT;
	struct journal *journal;
	struct effect e = { .kind = EFFECT_LINK, .path = was,
		.why = "takes a restored file's lost name away again" };
	struct stat st;
	uint32_t id;
	bool done;

	if (lstat(was, &(struct stat){ 0 }) == 0 || lstat(link, &st) < 0)
		return false;
	e.dev = st.st_dev;
	e.ino = st.st_ino;
	if (image_set_journal(images, &journal, &ignored) < 0 ||
		journal_add(journal, &e, &id, &ignored) < 0)
		return false;
	done = renameat2(AT_FDCWD, link, AT_FDCWD, was, RENAME_NOREPLACE) == 0;
	if (done && unlink(was) < 0)
		log_warn("cannot remove '%s': %s; it stays", was, strerror(errno));
	journal_gone(journal, id);
	return done;
}

void linkremap_take_back(struct image_set *images, const char *link, const char *was)
{
	if (rename_back(images, link, was))
		return;
	if (unlink(link) < 0 && errno != ENOENT)
		log_warn("cannot remove '%s': %s; it stays", link, strerror(errno));
}
