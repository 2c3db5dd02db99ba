/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pipes without a name. All descriptions with one pipe_id are the ends of one pipe; several
 * descriptions of one end come from opening /proc/PID/fd/N.
 *
 * Restore: the first entry of a pipe makes it and puts its bytes back. Both original descriptors
 * are kept while further entries need them and closed with the last one, so a pipe whose other
 * end nobody had shows end of file again.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include "options/outside.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

struct pipe_made {
	struct queue queue;
	int fd[2]; /* the original ends, -1 after the last entry */
	bool given[2]; /* somebody has it */
	unsigned left; /* entries to come */
	bool begun;
};

enum { KERNEL_O_LARGEFILE = 0100000 }; /* the C library's O_LARGEFILE is 0 on 64 bits */

static bool pipe_match(const struct fd_look *l)
{
	return S_ISFIFO(l->st.st_mode) && !strncmp(l->link, "pipe:[", 6);
}

/* What the dump saw of one pipe: who can tell whether there is an end outside. */
struct pipe_seen {
	bool end[2]; /* some task of the tree has it: reading, writing */
	bool peer[2]; /* as seen from that end: does anybody have the other one */
	char who[2][96];
	bool told; /* that the other end is outside */
};

static uint64_t pipe_key(uint32_t pipe_id)
{
	return table_key(FD_TYPES__PIPE, pipe_id);
}

/* POLLHUP tells a reader, POLLERR a writer, that nobody has the other end (fs/pipe.c). */
static void pipe_note(const struct fd_look *l, uint32_t pipe_id)
{
	struct pipe_seen *s = table_get(l->seen, pipe_key(pipe_id));
	struct pollfd p = { .fd = l->dup, .events = POLLIN | POLLOUT };
	unsigned mode = l->flags & O_ACCMODE, end = mode == O_WRONLY;

	if (!s) {
		s = arena_new_of(l->world->arena, struct pipe_seen);
		table_put(l->seen, pipe_key(pipe_id), s);
	}
	if (mode == O_RDWR)
		s->end[0] = s->end[1] = true;
	else if (!s->end[end]) {
		s->end[end] = true;
		s->peer[end] = poll(&p, 1, 0) < 0 || !(p.revents & (end ? POLLERR : POLLHUP));
		file_look_who(l, s->who[end], sizeof(s->who[end]));
	}
}

static int pipe_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	PipeEntry *e = arena_msg(l->world->arena, PipeEntry, pipe_entry);

	e->id = fe->id;
	e->pipe_id = (uint32_t)l->st.st_ino;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	fe->pipe = e;
	nameless_owner_collect(l, e->id, S_IRUSR | S_IWUSR);
	pipe_note(l, e->pipe_id);
	return 0;
}

/* An end outside is not saved: the restore is given one. */
static int pipe_settle(const struct settle *a, struct err *err)
{
	const struct entry_list *list = &a->world->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const PipeEntry *e = ((FileEntry *)list->at[i]->msg)->pipe;
		struct pipe_seen *s = e ? table_get(a->seen, pipe_key(e->pipe_id)) : NULL;
		TorporFileEntry *x;

		for (int end = 0; s && end < 2; end++) {
			if (!s->end[end] || s->end[!end] || !s->peer[end])
				continue;
			x = world_want_extra(a->world, e->id);
			x->has_outer_end = x->outer_end = true;
			if (!s->told)
				log_warn("%s is the %s end of a pipe whose other end a process outside of "
					"the tree has; a restore needs --inherit-fd fd[N]:pipe[%u]",
					s->who[end], end ? "write" : "read", e->pipe_id);
			s->told = true;
		}
	}
	return 0;
}

static int pipe_bulk(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	return queue_collect(l, IMG_PIPES_DATA, fe->pipe->pipe_id, err);
}

static void pipe_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	if (fe->pipe && (fe->pipe->flags & O_ACCMODE) == O_ACCMODE)
		finding_add(f, "pipe-mode", SEV_ERROR, 0, "pipe %u (file %u) has no access mode",
			fe->pipe->pipe_id, fe->id);
}

static struct queue *pipe_queue(void *ctx, uint32_t pipe_id)
{
	struct file_maker *m = ctx;
	struct pipe_made *p = table_get(&m->made, pipe_key(pipe_id));

	return p ? &p->queue : NULL;
}

/* Counts the entries of every pipe, once. */
static void pipes_prepare(struct file_maker *m)
{
	uint64_t done = table_key(FD_TYPES__PIPE, UINT64_MAX);
	struct entry_list *list = &m->world->entries[IMG_FILES];

	if (table_get(&m->made, done))
		return;
	table_put(&m->made, done, m);
	for (size_t i = 0; i < list->n; i++) {
		const PipeEntry *e = ((FileEntry *)list->at[i]->msg)->pipe;
		struct pipe_made *p;

		if (!e)
			continue;
		p = table_get(&m->made, pipe_key(e->pipe_id));
		if (!p) {
			p = arena_new_of(m->arena, struct pipe_made);
			p->fd[0] = p->fd[1] = -1;
			table_put(&m->made, pipe_key(e->pipe_id), p);
		}
		p->left++;
	}
	queue_load(m, IMG_PIPES_DATA, pipe_queue, m);
}

static int pipe_begin(struct pipe_made *p, const PipeEntry *e, struct err *err)
{
	if (p->begun)
		return 0;
	if (pipe2(p->fd, O_CLOEXEC) < 0)
		return err_sys(err, "cannot make pipe %u", e->pipe_id);
	p->begun = true;
	return queue_fill(p->fd[1], &p->queue, e->flags & O_DIRECT, err);
}

static int pipe_dup(int fd, int *ret_fd, struct err *err)
{
	int r = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (r < 0)
		return err_sys(err, "cannot duplicate a pipe end");
	*ret_fd = r;
	return 0;
}

/*
 * An end that pipe(2) made goes to the entry without O_LARGEFILE: a 64-bit task that opens a pipe
 * again through /proc always gets that flag, and it cannot be set or cleared later.
 */
static int pipe_take(struct pipe_made *p, const PipeEntry *e, int *ret_fd, struct err *err)
{
	unsigned mode = e->flags & O_ACCMODE, end = mode == O_WRONLY;
	int r;

	if (mode != O_RDWR && !(e->flags & KERNEL_O_LARGEFILE) && !p->given[end]) {
		r = pipe_dup(p->fd[end], ret_fd, err);
		p->given[end] = r == 0;
	} else {
		r = reopen(p->fd[end], (int)mode | O_NONBLOCK, ret_fd, err);
	}
	if (r == 0 && --p->left == 0)
		for (int i = 0; i < 2; i++)
			close(take_fd(&p->fd[i]));
	return r;
}

/* 1: a descriptor of torpor's own stands for the pipe; it is given as it is. */
static int pipe_given(struct file_maker *m, const PipeEntry *e, int *ret_fd, struct err *err)
{
	const TorporFileEntry *x = world_extra(m->world, e->id);
	char key[32];
	int fd, r;

	snprintf(key, sizeof(key), "pipe[%u]", e->pipe_id);
	fd = outside_inherited(m->options, key);
	if (fd < 0 && x && x->outer_end)
		return err_usage(err, "a process outside had the other end of pipe:[%u]; restoring this "
			"one needs --inherit-fd fd[N]:%s", e->pipe_id, key);
	if (fd < 0)
		return 0;
	r = pipe_dup(fd, ret_fd, err);
	return r < 0 ? r : 1;
}

static int pipe_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const PipeEntry *e = fe->pipe;
	struct pipe_made *p;
	auto_close int fd = -1;
	int r = pipe_given(m, e, ret_fd, err);

	if (r)
		return r < 0 ? r : 0;
	pipes_prepare(m);
	p = table_get(&m->made, pipe_key(e->pipe_id));
	if (!p || (p->begun && p->fd[0] < 0 && p->fd[1] < 0))
		return err_bug(err, "pipe %u is made twice", e->pipe_id);
	r = pipe_begin(p, e, err);
	if (r == 0)
		r = pipe_take(p, e, &fd, err);
	if (r == 0)
		r = nameless_owner_restore(m, e->id, fd, err);
	if (r == 0)
		r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

/* Ends nobody took, when a restore breaks off. */
static void pipe_clean(struct file_maker *m)
{
	struct entry_list *list = &m->world->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const PipeEntry *e = ((FileEntry *)list->at[i]->msg)->pipe;
		struct pipe_made *p = e ? table_get(&m->made, pipe_key(e->pipe_id)) : NULL;

		for (int k = 0; p && k < 2; k++)
			if (p->fd[k] >= 0)
				close(take_fd(&p->fd[k]));
	}
}

static void pipe_describe(const FileEntry *fe, char *buf, size_t size)
{
	static const char *const end[] = { "read end", "write end", "both ends", "no end" };

	snprintf(buf, size, "pipe %u %s", fe->pipe->pipe_id, end[fe->pipe->flags & O_ACCMODE]);
}

const struct file_kind file_kind_pipe = {
	.name = "pipe",
	.type = FD_TYPES__PIPE,
	.match = pipe_match,
	.collect = pipe_collect,
	.bulk = pipe_bulk,
	.settle = pipe_settle,
	.check = pipe_check,
	.create = pipe_create,
	.clean = pipe_clean,
	.describe = pipe_describe,
};
