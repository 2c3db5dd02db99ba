/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What waits in pipes and fifos. At the dump tee(2) makes a second reference to the bytes in a pipe
 * of ours, which is then read; the target's pipe keeps them.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "kinds/file/family.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

enum { PACKET_MAX = 4096 };

static void add_part(const struct fd_look *l, enum image_id image, uint32_t pipe_id, uint32_t size,
	const void *bytes, size_t len)
{
	struct arena *arena = l->world->arena;
	PipeDataEntry *e = arena_msg(arena, PipeDataEntry, pipe_data_entry);
	struct entry *entry;

	e->pipe_id = pipe_id;
	e->bytes = (uint32_t)len;
	e->has_size = true;
	e->size = size;
	entry = world_add(l->world, image, 0, e);
	if (len) {
		entry->payload = arena_memdup(arena, bytes, len);
		entry->payload_len = len;
	}
}

/* Copies all `len` waiting bytes into a pipe of ours; tee always begins at the first byte. */
static int copy_queue(const struct fd_look *l, const char *who, int size, int len, int *ret_fd,
	struct err *err)
{
	auto_close int rd = -1;
	auto_close int wr = -1;
	int p[2];
	ssize_t n;

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_sys(err, "cannot make a pipe");
	rd = p[0];
	wr = p[1];
	if (fcntl(wr, F_SETPIPE_SZ, size) < 0)
		return err_sys(err, "%s: cannot make a pipe of its size (%d bytes)", who, size);
	n = tee(l->dup, wr, (size_t)len, SPLICE_F_NONBLOCK);
	if (n < 0)
		return err_sys(err, "%s: cannot copy what waits in the pipe", who);
	if (n != len)
		return err_target(err, EAGAIN, "%s: only %zd of %d bytes in the pipe could be copied",
			who, n, len);
	*ret_fd = take_fd(&rd);
	return 0;
}

int queue_collect(const struct fd_look *l, enum image_id image, uint32_t pipe_id, struct err *err)
{
	uint64_t key = table_key((uint64_t)image + 100, pipe_id);
	auto_close int copy = -1;
	auto_free char *buf = NULL;
	char who[96];
	int len = 0, size, r;

	if ((l->flags & O_ACCMODE) == O_WRONLY || table_get(l->seen, key))
		return 0;
	table_put(l->seen, key, l->world);
	file_look_who(l, who, sizeof(who));
	size = fcntl(l->dup, F_GETPIPE_SZ);
	if (size < 0 || ioctl(l->dup, FIONREAD, &len) < 0)
		return err_sys(err, "%s: cannot look into the pipe", who);
	if (!len) {
		add_part(l, image, pipe_id, (uint32_t)size, NULL, 0);
		return 0;
	}
	r = copy_queue(l, who, size, len, &copy, err);
	if (r < 0)
		return r;
	buf = malloc((size_t)len);
	if (!buf)
		return err_nomem(err);
	while (len > 0) {
		/* One packet at a time, or everything if there are no packets. */
		ssize_t n = read(copy, buf, (size_t)len);

		if (n <= 0)
			return err_sysn(err, n < 0 ? errno : EIO, "%s: cannot read the copied pipe", who);
		add_part(l, image, pipe_id, (uint32_t)size, buf, (size_t)n);
		len -= (int)n;
	}
	return 0;
}

void queue_load(struct file_maker *m, enum image_id image,
	struct queue *(*ask)(void *ctx, uint32_t pipe_id), void *ctx)
{
	struct entry_list *list = &m->world->entries[image];

	for (size_t i = 0; i < list->n; i++) {
		const PipeDataEntry *e = list->at[i]->msg;
		struct queue *q = ask(ctx, e->pipe_id);
		struct queue_part *part;

		if (!q)
			continue;
		part = arena_new_of(m->arena, struct queue_part);
		part->entry = list->at[i];
		if (q->last)
			q->last->next = part;
		else
			q->first = part;
		q->last = part;
		q->n++;
		if (e->has_size)
			q->size = e->size;
	}
}

static int put_part(int fd, const struct entry *entry, struct err *err)
{
	const char *at = entry->payload;
	size_t left = entry->payload_len;

	while (left) {
		ssize_t n = write(fd, at, left);
		int size;

		if (n > 0) {
			at += n;
			left -= (size_t)n;
			continue;
		}
		/* The saved pieces may have lain more densely than write(2) puts them. */
		size = fcntl(fd, F_GETPIPE_SZ);
		if (n < 0 && errno == EAGAIN && size > 0 && fcntl(fd, F_SETPIPE_SZ, 2 * size) > size)
			continue;
		return err_sys(err, "cannot put %zu bytes back into a pipe", left);
	}
	return 0;
}

int queue_fill(int fd, const struct queue *q, bool packets, struct err *err)
{
	int flags = fcntl(fd, F_GETFL), r = 0;
	const struct queue_part *p;

	if (q->size && fcntl(fd, F_GETPIPE_SZ) != (int)q->size &&
		fcntl(fd, F_SETPIPE_SZ, (int)q->size) < 0)
		log_warn("a pipe cannot have its old size of %u bytes and keeps the usual one", q->size);
	packets = q->n > 1 || (packets && q->n == 1 && q->first->entry->payload_len <= PACKET_MAX);
	if (fcntl(fd, F_SETFL, O_NONBLOCK | (packets ? O_DIRECT : 0)) < 0)
		return err_sys(err, "cannot set the flags of a pipe");
	for (p = q->first; p && r == 0; p = p->next)
		r = put_part(fd, p->entry, err);
	if (r == 0 && fcntl(fd, F_SETFL, flags) < 0)
		return err_sys(err, "cannot set the flags of a pipe");
	return r;
}
