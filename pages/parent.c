// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/parent.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/table.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int parent_link_make(int images_dirfd, const char *path, bool *ret_made, struct err *err)
{
	struct stat given, there, own;

	*ret_made = false;
	if (fstatat(images_dirfd, path, &given, 0) < 0)
		return err_sys(err, "cannot reach the previous images '%s' (--prev-images-dir is "
			"relative to the images directory)", path);
	if (fstat(images_dirfd, &own) == 0 && own.st_dev == given.st_dev &&
		own.st_ino == given.st_ino)
		return err_usage(err, "the previous images '%s' are in the images directory itself",
			path);
	if (path[0] == '/')
		log_warn("the way to the previous images '%s' is absolute: the images cannot be "
			"moved together", path);
	if (symlinkat(path, images_dirfd, PARENT_LINK) == 0) {
		*ret_made = true;
		return 0;
	}
	if (errno != EEXIST)
		return err_sys(err, "cannot make the link 'parent' in the images directory");
	if (fstatat(images_dirfd, PARENT_LINK, &there, 0) < 0 || there.st_dev != given.st_dev ||
		there.st_ino != given.st_ino)
		log_warn("the link 'parent' is there already and does not lead to '%s'; it is used",
			path);
	return 0;
}

static int open_behind(struct image_set *child, const struct image_access *access, struct arena *a,
	struct image_set **ret, const char **ret_name, struct err *err)
{
	int at = image_set_dirfd(child), dirfd, r;
	char target[PATH_MAX];
	ssize_t n = readlinkat(at, PARENT_LINK, target, sizeof(target) - 1);

	*ret = NULL;
	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0)
		return err_sys(err, "cannot read the link 'parent' of the images");
	target[n] = 0;
	dirfd = openat(at, PARENT_LINK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return err_set(err, ERR_IMAGE, errno, "the parent images '%s' cannot be opened: %s",
			target, strerror(errno));
	r = image_set_open_with(dirfd, false, access, ret, err);
	if (r < 0) {
		close(dirfd);
		*ret = NULL;
		return err_while(err, "opening the parent images '%s'", target);
	}
	*ret_name = arena_strdup(a, target);
	return 0;
}

int parent_set_open(struct image_set *child, struct arena *a, struct image_set **ret,
	const char **ret_name, struct err *err)
{
	return open_behind(child, image_set_access(child), a, ret, ret_name, err);
}

void parent_set_close(struct image_set *set)
{
	int dirfd;

	if (!set)
		return;
	dirfd = image_set_dirfd(set);
	image_set_close(set);
	close(dirfd);
}

/* The only message of an image; *ret is NULL when there is no such image. */
static int read_one(struct page_parent *p, enum image_id type, void *ret, struct err *err)
{
	struct image_reader *r;
	int got = image_open(p->set, type, 0, &r, err);

	if (got < 0 || !r)
		return got;
	got = image_next(r, p->arena, ret, err);
	if (got == 0)
		got = err_image(err, "image '%s' is empty", image_reader_name(r));
	image_reader_close(r);
	return got < 0 ? got : 0;
}

/* A tracker image that was left by another dump into the same directory says nothing. */
static int read_messages(struct page_parent *p, struct err *err)
{
	InventoryEntry *inventory = NULL;
	TorporTrackerEntry *tracker = NULL;
	int r = read_one(p, IMG_INVENTORY, &inventory, err);

	if (r == 0)
		r = read_one(p, IMG_TORPOR_TRACKER, &tracker, err);
	if (r < 0)
		return r;
	p->inventory = inventory;
	if (tracker && inventory->dump_criu_run_id &&
		!strcmp(tracker->run_id, inventory->dump_criu_run_id))
		p->tracker = tracker;
	return 0;
}

/* 1 if the directory was met before. */
static int met_before(struct table *met, const struct image_set *set, struct err *err)
{
	struct stat st;
	uint64_t key;

	if (fstat(image_set_dirfd(set), &st) < 0)
		return err_sys(err, "cannot examine a directory of images");
	key = table_key(st.st_dev, st.st_ino);
	if (table_get(met, key))
		return 1;
	table_put(met, key, (void *)set);
	return 0;
}

/* The sets behind `set`, one at a time. */
static int check_ancestors(struct page_parent *p, struct image_set *child, struct err *err)
{
	struct image_set *at = p->set, *next = NULL;
	struct table met = { 0 };
	const char *name;
	int r = met_before(&met, child, err);

	while (r == 0 && at) {
		r = met_before(&met, at, err);
		if (r > 0)
			r = err_image(err, "the links to parent images lead in a circle");
		if (r == 0)
			r = parent_set_open(at, p->arena, &next, &name, err);
		if (at != p->set)
			parent_set_close(at);
		at = r == 0 ? next : NULL;
	}
	table_done(&met);
	return r;
}

int parent_open(struct image_set *child, struct page_parent **ret, struct err *err)
{
	struct page_parent *p = calloc(1, sizeof(*p));
	const char *name;
	int r;

	*ret = NULL;
	if (!p)
		return err_nomem(err);
	p->arena = arena_new();
	p->access = *image_set_access(child);
	p->access.pages_elsewhere = true;
	r = open_behind(child, &p->access, p->arena, &p->set, &name, err);
	if (r == 0 && p->set && !image_set_access(child)->pages_only)
		r = read_messages(p, err);
	if (r == 0 && p->set)
		r = check_ancestors(p, child, err);
	if (r < 0 || !p->set) {
		parent_close(p);
		return r;
	}
	*ret = p;
	return 0;
}

void parent_close(struct page_parent *p)
{
	if (!p)
		return;
	parent_set_close(p->set);
	arena_free(p->arena);
	free(p);
}
