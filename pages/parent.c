// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/parent.h"
#include "base/cleanup.h"
#include "base/log.h"
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

int parent_open(struct image_set *child, struct page_parent **ret, struct err *err)
{
	int images_dirfd = image_set_dirfd(child);
	char target[PATH_MAX];
	ssize_t n = readlinkat(images_dirfd, PARENT_LINK, target, sizeof(target) - 1);
	struct page_parent *p;
	int r;

	*ret = NULL;
	if (n < 0 && errno == ENOENT)
		return 0;
	target[n < 0 ? 0 : n] = 0;
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_nomem(err);
	p->arena = arena_new();
	p->dirfd = openat(images_dirfd, PARENT_LINK, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (p->dirfd < 0)
		r = err_set(err, ERR_IMAGE, errno, "the parent images '%s' cannot be opened: %s",
			target, strerror(errno));
	else
		r = image_set_open_with(p->dirfd, false, image_set_access(child), &p->set, err);
	if (r == 0)
		r = read_messages(p, err);
	if (r < 0) {
		parent_close(p);
		return err_while(err, "opening the parent images '%s'", target);
	}
	*ret = p;
	return 0;
}

void parent_close(struct page_parent *p)
{
	if (!p)
		return;
	image_set_close(p->set);
	if (p->dirfd >= 0)
		close(p->dirfd);
	arena_free(p->arena);
	free(p);
}
