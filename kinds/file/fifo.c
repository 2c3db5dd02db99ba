/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fifos: pipes with a name. The entry refers to a REG entry with path and flags; the name may be
 * gone (ghost).
 *
 * Restore: the first entry of a fifo opens it for both directions, which never blocks, and puts
 * its bytes back; this descriptor is held until the last entry of the fifo is made.
 */
#include "base/cleanup.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>

struct fifo_made {
	struct queue queue;
	int fd; /* holds the fifo, -1 before and after */
	unsigned left; /* entries to come */
};

static bool fifo_match(const struct fd_look *l)
{
	return S_ISFIFO(l->st.st_mode) && l->link[0] == '/' && !(l->flags & O_PATH);
}

static int fifo_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	FifoEntry *e = arena_msg(l->world->arena, FifoEntry, fifo_entry);

	e->id = fe->id;
	e->pipe_id = (uint32_t)l->st.st_ino;
	e->has_regf_id = true;
	fe->fifo = e;
	return name_collect_companion(l, flags_collect(l), &e->regf_id, err);
}

static int fifo_bulk(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	return queue_collect(l, IMG_FIFO_DATA, fe->fifo->pipe_id, err);
}

static const RegFileEntry *fifo_name(const struct world *w, const FileEntry *fe)
{
	FileEntry *reg = fe->fifo && fe->fifo->has_regf_id ? world_file(w, fe->fifo->regf_id) : NULL;

	return reg ? reg->reg : NULL;
}

static void fifo_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	if (!fifo_name(w, fe))
		finding_add(f, "fifo-name", SEV_ERROR, 0, "fifo (file %u) has no name", fe->id);
}

static uint64_t fifo_key(uint32_t pipe_id)
{
	return table_key(FD_TYPES__FIFO, pipe_id);
}

static struct queue *fifo_queue(void *ctx, uint32_t pipe_id)
{
	struct file_maker *m = ctx;
	struct fifo_made *p = table_get(&m->made, fifo_key(pipe_id));

	return p ? &p->queue : NULL;
}

static void fifos_prepare(struct file_maker *m)
{
	uint64_t done = table_key(FD_TYPES__FIFO, UINT64_MAX);
	struct entry_list *list = &m->world->entries[IMG_FILES];

	if (table_get(&m->made, done))
		return;
	table_put(&m->made, done, m);
	for (size_t i = 0; i < list->n; i++) {
		const FifoEntry *e = ((FileEntry *)list->at[i]->msg)->fifo;
		struct fifo_made *p;

		if (!e)
			continue;
		p = table_get(&m->made, fifo_key(e->pipe_id));
		if (!p) {
			p = arena_new_of(m->arena, struct fifo_made);
			p->fd = -1;
			table_put(&m->made, fifo_key(e->pipe_id), p);
		}
		p->left++;
	}
	queue_load(m, IMG_FIFO_DATA, fifo_queue, m);
}

static int fifo_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const FifoEntry *e = fe->fifo;
	const RegFileEntry *reg = fifo_name(m->world, fe);
	struct fifo_made *p;
	auto_close int fd = -1;
	struct stat st;
	int r = 0;

	if (!reg)
		return err_image(err, "fifo (file %u) has no name", fe->id);
	fifos_prepare(m);
	p = table_get(&m->made, fifo_key(e->pipe_id));
	if (!p || !p->left)
		return err_bug(err, "fifo '%s' is made twice", reg->name);
	if (p->fd < 0) {
		r = name_open_companion(m, e->regf_id, O_RDWR | O_NONBLOCK, &p->fd, err);
		if (r == 0 && (fstat(p->fd, &st) < 0 || !S_ISFIFO(st.st_mode)))
			r = err_target(err, EINVAL, "'%s' is no fifo now", reg->name);
		if (r == 0)
			r = queue_fill(p->fd, &p->queue, reg->flags & O_DIRECT, err);
	}
	if (r == 0)
		r = name_open_companion(m, e->regf_id, (int)reg->flags | O_NONBLOCK, &fd, err);
	if (r < 0)
		return r;
	if (--p->left == 0)
		close(take_fd(&p->fd));
	r = fown_restore(fd, reg->fown, err);
	if (r == 0)
		r = flags_restore(fd, reg->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static void fifo_clean(struct file_maker *m)
{
	struct entry_list *list = &m->world->entries[IMG_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const FifoEntry *e = ((FileEntry *)list->at[i]->msg)->fifo;
		struct fifo_made *p = e ? table_get(&m->made, fifo_key(e->pipe_id)) : NULL;

		if (p && p->fd >= 0)
			close(take_fd(&p->fd));
	}
}

static void fifo_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "fifo %u (name in file %u)", fe->fifo->pipe_id, fe->fifo->regf_id);
}

const struct file_kind file_kind_fifo = {
	.name = "fifo",
	.type = FD_TYPES__FIFO,
	.match = fifo_match,
	.collect = fifo_collect,
	.bulk = fifo_bulk,
	.check = fifo_check,
	.create = fifo_create,
	.clean = fifo_clean,
	.describe = fifo_describe,
};
