/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A set of images in a directory.
 *
 * - A directory that is being written never looks complete: a stale inventory goes before the first
 *   file is created, the new one comes last, by rename, after everything else has reached the disk.
 * - A dump that fails before it has anything to write leaves a set as it was: with a wrong pid nobody
 *   loses the only copy of a tree that has ended.
 * - A set that is complete holds nothing of an older one that a reader would take for its own.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "image/journal.h"
#include "image/priv.h"
#include "base/kdf.h"
#include "image/sealed.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *image_name(enum image_id type, unsigned long id, char *buf, size_t size)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(buf, size, image_types[type].pattern, id);
#pragma GCC diagnostic pop
	return buf;
}

/* Names the directory, if it is one the user knows. */
static int err_no_inventory(const struct image_set *set, struct err *err)
{
	char link[32], place[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", set->dirfd);
	n = set->dirfd == set->home ? readlink(link, place, sizeof(place) - 1) : -1;
	if (n < 0)
		return err_image(err, "there is no inventory.img: this is no complete image set");
	place[n] = 0;
	return err_image(err, "there is no inventory.img in '%s': this is no complete image set", place);
}

/* V1 layout has no common magic; only the inventory, whose layout never changed, tells. */
static int learn_version(struct image_set *set, struct err *err)
{
	struct arena *a = arena_new();
	struct image_reader *r = NULL;
	InventoryEntry *inv = NULL;
	int got = image_open(set, IMG_INVENTORY, 0, &r, err);

	if (got == 0 && !r)
		got = err_no_inventory(set, err);
	if (got == 0)
		got = image_next(r, a, &inv, err);
	if (got == 0)
		got = err_image(err, "inventory.img is empty: this is no complete image set");
	if (got == 1 && image_left(r))
		got = err_image(err, "inventory.img has %zu bytes behind its only message",
			image_left(r));
	if (got == 1) {
		/* 0: a pre-dump, whose pages a parent chain needs; its layout is that of 2 */
		set->version = inv->img_version == 1 ? 1 : 2;
		got = torpor_learn(set, inv, err);
		if (inv->img_version > 2 && inv->img_version != IMAGE_VERSION_TORPOR)
			got = err_image(err,
				"inventory.img has version %u: it was made by a newer program",
				inv->img_version);
	}
	image_reader_close(r);
	arena_free(a);
	return got;
}

static int check_writable(struct image_set *set, struct err *err)
{
	if (faccessat(set->dirfd, ".", W_OK, 0) < 0)
		return err_sys(err, "cannot write into the images directory");
	return 0;
}

/*
 * Before the first file: what is complete by now will not be so any more. Not of a set that was opened
 * for reading, beside whose images something is noted (a working set).
 */
static int begin_writing(struct image_set *set, struct err *err)
{
	if (set->begun || !set->write)
		return 0;
	if (unlinkat(set->dirfd, "inventory.img", 0) < 0 && errno != ENOENT)
		return err_sys(err, "cannot remove the stale inventory.img");
	set->begun = true;
	return 0;
}

static int open_stream(struct image_set *set, struct err *err)
{
	const struct stream_plan *plan = &set->access->stream;
	struct image_stream **idle = set->access->idle_stream;

	if (set->write && idle && *idle) {
		set->stream = *idle;
		*idle = NULL;
		return 0;
	}
	return set->write ? image_stream_open(plan, set->home, &set->stream, err) :
			    image_stream_gather(plan, set->home, &set->dirfd, err);
}

int image_set_open(int dirfd, bool write, struct image_set **ret, struct err *err)
{
	return image_set_open_with(dirfd, write, NULL, ret, err);
}

int image_set_open_with(int dirfd, bool write, const struct image_access *access,
	struct image_set **ret, struct err *err)
{
	static const struct image_access nothing;
	struct image_set *set = calloc(1, sizeof(*set));
	int r;

	if (!set)
		return err_nomem(err);
	set->dirfd = set->home = dirfd;
	set->write = write;
	set->version = 2;
	set->access = access ? access : &nothing;
	r = set->access->streamed ? open_stream(set, err) : write ? check_writable(set, err) : 0;
	if (r == 0 && !write && !set->access->pages_only)
		r = learn_version(set, err);
	if (r == 0 && write)
		r = random_bytes(set->dump_id, sizeof(set->dump_id), err);
	if (r < 0) {
		image_set_close(set);
		return r;
	}
	*ret = set;
	return 0;
}

static void let_stream_go(struct image_set *set)
{
	struct image_stream **idle = set->access->idle_stream;

	if (idle && set->stream && image_stream_is_idle(set->stream))
		*idle = set->stream;
	else
		image_stream_free(set->stream);
	set->stream = NULL;
}

void image_set_close(struct image_set *set)
{
	if (!set)
		return;
	image_set_keep(set, NULL, NULL);
	image_set_forget(set);
	journal_close(set->journal);
	sealed_free(set->sealed);
	let_stream_go(set);
	if (set->dirfd != set->home)
		close(set->dirfd);
	free(set);
}

void image_set_forget(struct image_set *set)
{
	vec_each(name, &set->created)
		free(*name);
	vec_done(&set->created);
	table_done(&set->made);
	set->made = (struct table){ 0 };
}

int image_set_journal(struct image_set *set, struct journal **ret, struct err *err)
{
	int r = 0;

	if (!set->journal)
		r = journal_open(set->home, set->write ? "dump" : "restore", &set->journal, err);
	if (r == 0)
		*ret = set->journal;
	return r;
}

void image_set_send_pages(struct image_set *set, struct page_client *client)
{
	set->client = client;
}

struct page_client *image_set_page_client(const struct image_set *set)
{
	return set->client;
}

void image_set_stage_pages(struct image_set *set, struct page_staging *staging)
{
	set->staging = staging;
}

struct page_staging *image_set_page_staging(const struct image_set *set)
{
	return set->staging;
}

int image_set_dirfd(const struct image_set *set)
{
	return set->dirfd;
}

uint64_t image_set_bytes(const struct image_set *set)
{
	uint64_t sum = 0;
	struct stat st;

	if (set->stream)
		return set->streamed;
	vec_each(name, &set->created)
		if (fstatat(set->dirfd, *name, &st, 0) == 0)
			sum += (uint64_t)st.st_size;
	return sum;
}

unsigned image_set_patience(const struct image_set *set)
{
	return set->access ? set->access->stream.patience_s : 0;
}

int image_set_write_failed(const struct image_set *set, int number, const char *what, struct err *err)
{
	return set->stream && number != ETIMEDOUT && number != EINTR ?
		image_stream_failed(set->stream, number, what, err) :
		image_write_failed(err, number, what);
}

void image_set_discard(struct image_set *set)
{
	let_stream_go(set);
	vec_each(name, &set->created)
		unlinkat(set->dirfd, *name, 0);
	image_set_forget(set);
}

/*
 * O_NOFOLLOW: in a directory others may write to, a link could lead us to any file. A fifo or device
 * there would let us wait, or take what is written and keep nothing.
 */
int image_create_fd(struct image_set *set, const char *name, int *ret, struct err *err)
{
	const int flags = O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
	struct stat st;
	int fd, r;
	char *copy;

	if (set->stream)
		return image_stream_create(set->stream, name, ret, err);
	r = begin_writing(set, err);
	if (r < 0)
		return r;
	fd = openat(set->dirfd, name, flags, 0644);
	if (fd < 0)
		return image_write_failed(err, errno, name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(err, ERR_RESOURCE, EEXIST, "cannot write image '%s': what has that name is "
			"no regular file", name);
	}
	copy = strdup(name);
	if (!copy)
		abort();
	vec_push(&set->created, copy);
	*ret = fd;
	return 0;
}

static void note_raw(struct image_set *set, enum image_id type, unsigned long id, const char *name)
{
	table_put(&set->made, table_key((uint64_t)type, id), set);
	if (set->sealed && type == IMG_PAGES)
		sealed_note(set->sealed, name, NULL);
}

int image_create_raw(struct image_set *set, enum image_id type, unsigned long id, int *ret_fd,
	struct err *err)
{
	char name[IMAGE_NAME];

	image_name(type, id, name, sizeof(name));
	note_raw(set, type, id, name);
	if (set->sealed && type != IMG_PAGES)
		return sealed_create_memory(set->sealed, name, ret_fd, err);
	return image_create_fd(set, name, ret_fd, err);
}

void image_note_remote_pages(struct image_set *set, unsigned long id)
{
	char name[IMAGE_NAME];

	image_name(IMG_PAGES, id, name, sizeof(name));
	note_raw(set, IMG_PAGES, id, name);
}

void image_note_pages(struct image_set *set, unsigned long id, uint64_t bytes)
{
	char name[IMAGE_NAME];

	set->streamed += bytes;
	if (!set->sealed)
		return;
	image_name(IMG_PAGES, id, name, sizeof(name));
	for (size_t i = set->sealed->files.n; i-- > 0;) {
		if (!strcmp(set->sealed->files.at[i].name, name)) {
			set->sealed->files.at[i].size = bytes;
			return;
		}
	}
}

int image_open_raw(struct image_set *set, enum image_id type, unsigned long id, int *ret_fd,
	struct err *err)
{
	char name[IMAGE_NAME];
	struct stat st;
	int fd = -1;

	image_name(type, id, name, sizeof(name));
	if (set->sealed && type != IMG_PAGES)
		return sealed_open_memory(set, name, ret_fd, err);
	errno = ENOENT;
	if (!set->sealed || sealed_find(set->sealed, name))
		fd = openat(set->dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT ? err_set(err, ERR_IMAGE, ENOENT, "image '%s' is missing", name) :
					 err_sys(err, "cannot open image '%s'", name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_image(err, "image '%s' is no regular file", name);
	}
	*ret_fd = fd;
	return 0;
}

/* ---- commit ---- */

/*
 * Lists and numbered images are read because they are there: those of an older dump into the same
 * directory must go. Images of tasks and pages are only reached by a reference; they stay,
 * because a page server may have put them here for us.
 */
static int remove_stale(struct image_set *set, struct err *err)
{
	const unsigned referred = IMGF_SERVICE | IMGF_RAW | IMGF_TASK | IMGF_SET;
	struct image_list found = { 0 };
	char name[IMAGE_NAME];
	int r = image_set_scan(set, &found, err);

	vec_each(f, &found) {
		if (r < 0 || image_types[f->type].flags & referred ||
			table_get(&set->made, table_key((uint64_t)f->type, f->id)))
			continue;
		image_name(f->type, f->id, name, sizeof(name));
		if (unlinkat(set->dirfd, name, 0) < 0 && errno != ENOENT)
			r = err_sys(err, "cannot remove the stale image '%s'", name);
	}
	vec_done(&found);
	return r;
}

static int write_inventory(struct image_set *set, const char *name, const void *inventory,
	struct err *err)
{
	struct image_writer *w;
	int q, r = image_create_named(set, IMG_INVENTORY, name, 0, &w, err);

	if (r < 0)
		return r;
	r = torpor_put_inventory(set, inventory, w, err);
	if (r == 0)
		r = image_sync(w, err);
	q = image_finish(w, r < 0 ? NULL : err);
	return r < 0 ? r : q;
}

static int rename_inventory(struct image_set *set, const char *from, struct err *err)
{
	char *name = strdup("inventory.img");

	if (!name)
		abort();
	vec_push(&set->created, name);
	if (renameat(set->dirfd, from, set->dirfd, name) < 0)
		return err_sys(err, "cannot put inventory.img into place");
	return 0;
}

static int commit_stream(struct image_set *set, const void *inventory, struct err *err)
{
	int r = set->sealed ? sealed_write_manifest(set, err) : 0;

	if (r == 0)
		r = write_inventory(set, "inventory.img", inventory, err);
	return r < 0 ? r : image_stream_commit(set->stream, err);
}

/*
 * One syncfs for all files: with thousands of them an fsync each costs a journal commit each. It
 * reports errors of write-back since 5.8 (syncfs(2)).
 */
int image_set_commit(struct image_set *set, const void *inventory, struct err *err)
{
	static const char temporary[] = ".inventory.img.new";
	auto_close int fd = openat(set->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (set->stream)
		return commit_stream(set, inventory, err);
	if (fd < 0)
		return err_sys(err, "cannot open the images directory");
	r = set->sealed ? sealed_write_manifest(set, err) : 0;
	if (r == 0)
		r = remove_stale(set, err);
	if (r < 0)
		return r;
	if (syncfs(fd) < 0)
		return err_sys(err, "cannot write the images to the disk");
	r = write_inventory(set, temporary, inventory, err);
	if (r == 0)
		r = rename_inventory(set, temporary, err);
	if (r == 0 && fsync(fd) < 0 && errno != EINVAL)
		r = err_sys(err, "cannot write the images directory to the disk");
	return r;
}
