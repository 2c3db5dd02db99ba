/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that inotify and fanotify watch. The kernel tells device, inode and handle of each; images
 * keep these and, as a hint for another computer, the path that led to the file at the dump. A deleted
 * file is made again when some descriptor of the tree leads to it (names/ghost.h): by its old inode the
 * watch finds it.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kernel/fdinfo.h"
#include "kinds/file/family.h"
#include "names/handle.h"
#include "names/reach.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>

enum { HANDLE_WORDS = FH_ENTRY_SIZES__min_entries, SEEN_DELETED = 640 };

/* A watched file without a name: somebody of the tree has to have it. */
struct deleted {
	struct deleted *next;
	uint32_t dev;
	uint64_t ino;
	const char *who, *what;
};

int look_handles(const struct fd_look *l, struct handle_space **ret, struct err *err)
{
	int r = *l->handles ? 0 : handle_space_new(l->handles, err);

	*ret = *l->handles;
	return r;
}

int maker_handles(struct file_maker *m, struct handle_space **ret, struct err *err)
{
	int r = m->handles ? 0 : handle_space_new(&m->handles, err);

	*ret = m->handles;
	return r;
}

static FhEntry *entry_of(struct arena *arena, const struct fdinfo_handle *h)
{
	FhEntry *e = arena_msg(arena, FhEntry, fh_entry);

	e->bytes = h->bytes;
	e->type = h->type;
	e->n_handle = HANDLE_WORDS;
	e->handle = arena_array(arena, HANDLE_WORDS, sizeof(*e->handle));
	memcpy(e->handle, h->data, h->bytes);
	return e;
}

static void note_deleted(const struct fd_look *l, const struct fdinfo_watch *w, const char *who,
	const char *what)
{
	struct deleted *d = arena_new_of(l->world->arena, struct deleted);

	*d = (struct deleted){ .next = table_get(l->seen, table_key(SEEN_DELETED, 0)), .dev = w->sdev,
		.ino = w->ino, .who = arena_strdup(l->world->arena, who), .what = what };
	table_put(l->seen, table_key(SEEN_DELETED, 0), d);
}

int watched_settle(const struct settle *s, struct err *err)
{
	const struct deleted *d = table_get(s->seen, table_key(SEEN_DELETED, 0));
	const struct entry_list *ghosts = &s->world->entries[IMG_GHOST_FILE];
	struct table saved = { 0 };
	int r = 0;

	for (size_t i = 0; d && i < ghosts->n; i++) {
		const GhostFileEntry *g = ghosts->at[i]->msg;

		table_put(&saved, table_key(g->dev, g->ino), s->world);
	}
	for (; d && r == 0; d = d->next)
		if (!table_get(&saved, table_key(d->dev, d->ino)))
			r = err_unsupported(err, "%s is an %s descriptor that watches a deleted file (inode "
				"%llu of device %u:%u) which no task of the tree has open, so it cannot be "
				"made again", d->who, d->what, (unsigned long long)d->ino, d->dev >> 20,
				d->dev & 0xfffff);
	table_done(&saved);
	return r;
}

int watched_collect(const struct fd_look *l, const struct fdinfo_watch *w, const char *what,
	FhEntry **ret, struct err *err)
{
	FhEntry *fh = entry_of(l->world->arena, &w->handle);
	char path[PATH_MAX], who[96];
	struct handle_space *space;
	auto_close int fd = -1;
	struct stat st;
	int r = look_handles(l, &space, err);

	if (r < 0)
		return r;
	file_look_who(l, who, sizeof(who));
	fd = handle_open(space, w->sdev, fh);
	if (fd < 0)
		return err_unsupported(err, "%s is an %s descriptor that watches inode %llu of device "
			"%u:%u, which cannot be found by its file handle (%s)", who, what,
			(unsigned long long)w->ino, w->sdev >> 20, w->sdev & 0xfffff, strerror(-fd));
	if (fstat(fd, &st) == 0 && !st.st_nlink)
		note_deleted(l, w, who, what);
	else if (handle_path(fd, path) == 0)
		fh->path = arena_strdup(l->world->arena, path);
	*ret = fh;
	return 0;
}

void watched_report_queue(const struct fd_look *l, const char *what)
{
	char who[96];
	int bytes = 0;

	if (ioctl(l->dup, FIONREAD, &bytes) == 0 && bytes > 0)
		log_warn("%s is an %s descriptor with %d bytes of events that were not read; a restore "
			"goes on without them", file_look_who(l, who, sizeof(who)), what, bytes);
}

int watched_open(struct file_maker *m, uint32_t dev, uint64_t ino, const FhEntry *fh, int *ret_fd,
	struct err *err)
{
	struct handle_space *space;
	struct stat st;
	int fd, r = maker_handles(m, &space, err);

	if (r < 0)
		return r;
	fd = handle_open(space, dev, fh);
	if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_ino != ino)) {
		close(fd);
		fd = -ESTALE;
	}
	if (fd < 0 && reach_ghost_of(m->reach, dev, ino) >= 0)
		fd = fcntl(reach_ghost_of(m->reach, dev, ino), F_DUPFD_CLOEXEC, 0);
	if (fd < 0 && fh->path && fh->path[0] == '/')
		fd = open(fh->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_target(err, ENOENT, "the watched file '%s' (inode %llu) is not there",
			fh->path ? fh->path : "without a name", (unsigned long long)ino);
	*ret_fd = fd;
	return 0;
}
