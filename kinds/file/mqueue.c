/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors of POSIX message queues. Where a mount shows the queue, the descriptor is that of a
 * file with a path, as other readers know it; where none does, it is opened by mq_open(3); a queue
 * that was unlinked is made again under another name, which is taken away at once. What is in the
 * queue stands beside (torpor-files), once for each queue.
 */
#include "kernel/mqueue.h"
#include "base/cleanup.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include "kinds/mqueue.h"
#include "names/handle.h"
#include "names/reach.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { MQUEUE_FS = 0x19800202, SEEN_QUEUES = 750 };

static bool mqueue_match(const struct fd_look *l)
{
	return S_ISREG(l->st.st_mode) && l->fs_type == MQUEUE_FS && !(l->flags & O_PATH);
}

/* ---- dump ---- */

/* The name of the queue, "/name": the last part of whatever path it was opened by. */
static const char *queue_name(const struct fd_look *l)
{
	static const char suffix[] = " (deleted)";
	char *name = arena_strdup(l->world->arena, strrchr(l->link, '/'));
	size_t len = strlen(name), cut = sizeof(suffix) - 1;

	if (!l->st.st_nlink && len > cut && !strcmp(name + len - cut, suffix))
		name[len - cut] = '\0';
	return name;
}

static int save_content(const struct fd_look *l, TorporMqueueContent *c, struct err *err)
{
	struct mqueue_messages all = { 0 };
	struct mq_attr attr;
	auto_close int fd = -1;
	char who[96];
	pid_t pid = 0;
	int r = reopen(l->dup, O_RDWR | O_NONBLOCK, &fd, err);

	if (r < 0)
		return r;
	if (mq_getattr(fd, &attr) < 0 || mqueue_notified(fd, &pid) < 0)
		return err_sys(err, "cannot look at the message queue '%s'", l->link);
	if (pid && world_task(l->world, pid))
		return err_unsupported(err, "%s is the message queue '%s', of whose next message task %d "
			"wants to be notified (mq_notify); that cannot be saved",
			file_look_who(l, who, sizeof(who)), l->link, pid);
	c->uid = l->st.st_uid;
	c->gid = l->st.st_gid;
	c->mode = l->st.st_mode;
	c->maxmsg = (uint64_t)attr.mq_maxmsg;
	c->msgsize = (uint64_t)attr.mq_msgsize;
	r = mqueue_peek(fd, &all, err);
	for (size_t i = 0; i < all.n; i++) {
		TorporMqueueMessage *m = arena_msg(l->world->arena, TorporMqueueMessage,
			torpor_mqueue_message);

		m->priority = all.at[i].priority;
		m->bytes.len = all.at[i].n;
		m->bytes.data = arena_memdup(l->world->arena, all.at[i].bytes, all.at[i].n);
		arena_push(l->world->arena, c->messages, c->n_messages, m);
	}
	mqueue_messages_done(&all);
	return r;
}

/* A path that leads to it, NULL if no mount shows it. */
static const char *visible_path(const struct fd_look *l, const char *name, struct err *err)
{
	uint32_t dev = (uint32_t)(major(l->st.st_dev) << 20 | minor(l->st.st_dev));
	const struct mount_line *mount;
	struct handle_space *space;
	struct stat st;
	char *path;

	if (!l->st.st_nlink || look_handles(l, &space, err) < 0)
		return NULL;
	mount = handle_mount_of_dev(space, dev);
	if (!mount)
		return NULL;
	path = arena_printf(l->world->arena, "%s%s", mount->point, name);
	return stat(path, &st) == 0 && st.st_dev == l->st.st_dev && st.st_ino == l->st.st_ino ? path : NULL;
}

static void become_file(const struct fd_look *l, FileEntry *fe, const char *path)
{
	RegFileEntry *reg = arena_msg(l->world->arena, RegFileEntry, reg_file_entry);

	reg->id = fe->id;
	reg->flags = flags_collect(l);
	reg->fown = fown_collect(l);
	reg->name = (char *)path;
	reg->has_mode = true;
	reg->mode = l->st.st_mode;
	fe->type = FD_TYPES__REG;
	fe->reg = reg;
}

static int mqueue_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	TorporMqueueEntry *e = arena_msg(l->world->arena, TorporMqueueEntry, torpor_mqueue_entry);
	uint64_t key = table_key(table_key(SEEN_QUEUES, l->st.st_dev), l->st.st_ino);
	const char *name = queue_name(l), *path;
	int r = 0;

	e->queue = (uint32_t)l->st.st_ino;
	e->flags = flags_collect(l);
	if (l->st.st_nlink)
		e->name = (char *)name;
	e->fown = fown_collect(l);
	if (!table_get(l->seen, key)) {
		table_put(l->seen, key, e);
		e->content = arena_msg(l->world->arena, TorporMqueueContent, torpor_mqueue_content);
		r = save_content(l, e->content, err);
	}
	if (r < 0)
		return r;
	world_want_extra(l->world, fe->id)->mqueue = e;
	path = visible_path(l, name, err);
	if (path)
		become_file(l, fe, path);
	return 0;
}

/* ---- restore ---- */

static void mqueue_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const TorporFileEntry *x = world_extra(w, fe->id);

	if (!x || !x->mqueue)
		finding_add(f, "mqueue-missing", SEV_ERROR, 0, "message queue (file %u) is not described", fe->id);
	else if (x->mqueue->name && (x->mqueue->name[0] != '/' || strchr(x->mqueue->name + 1, '/')))
		finding_add(f, "mqueue-name", SEV_ERROR, 0, "message queue (file %u) has the name '%.100s'",
			fe->id, x->mqueue->name);
}

static uint64_t held_key(uint32_t queue)
{
	return table_key(FD_TYPES__TORPOR_MQUEUE, queue);
}

static const TorporMqueueContent *content_of(const struct world *w, uint32_t queue)
{
	const struct entry_list *list = &w->entries[IMG_TORPOR_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const TorporFileEntry *x = list->at[i]->msg;

		if (x->mqueue && x->mqueue->queue == queue && x->mqueue->content)
			return x->mqueue->content;
	}
	return NULL;
}

/* One without name, held until the end. */
static int hold(struct file_maker *m, uint32_t queue, int *ret_fd, struct err *err)
{
	intptr_t held = (intptr_t)table_get(&m->made, held_key(queue));
	const TorporMqueueContent *c;
	char name[64];
	int r;

	if (held) {
		*ret_fd = (int)held - 1;
		return 0;
	}
	c = content_of(m->world, queue);
	if (!c)
		return err_image(err, "the message queue %u has no content", queue);
	snprintf(name, sizeof(name), "/torpor-%d-%x", getpid(), queue);
	r = mqueue_create(name, c, ret_fd, err);
	if (r < 0)
		return r;
	mq_unlink(name);
	table_put(&m->made, held_key(queue), (void *)(intptr_t)(*ret_fd + 1));
	return 0;
}

static int open_queue(struct file_maker *m, const TorporMqueueEntry *e, int *ret_fd, struct err *err)
{
	int flags = (int)e->flags & (O_ACCMODE | O_NONBLOCK), holder, r;

	if (!e->name) {
		r = hold(m, e->queue, &holder, err);
		return r < 0 ? r : reopen(holder, flags, ret_fd, err);
	}
	*ret_fd = mq_open(e->name, flags | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(err, "cannot open the message queue '%s'", e->name) : 0;
}

static int mqueue_create_room(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const TorporMqueueEntry *e = world_extra(m->world, fe->id)->mqueue;
	auto_close int fd = -1;
	int r = open_queue(m, e, &fd, err);

	if (r == 0)
		r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

static void mqueue_clean(struct file_maker *m)
{
	const struct entry_list *list = &m->world->entries[IMG_TORPOR_FILES];

	for (size_t i = 0; i < list->n; i++) {
		const TorporFileEntry *x = list->at[i]->msg;
		intptr_t held = x->mqueue ? (intptr_t)table_get(&m->made, held_key(x->mqueue->queue)) : 0;

		if (held > 0) {
			close((int)held - 1);
			table_put(&m->made, held_key(x->mqueue->queue), (void *)(intptr_t)-1);
		}
	}
}

static void mqueue_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "message queue %u", fe->id);
}

const struct file_kind file_kind_mqueue = {
	.name = "message queue",
	.type = FD_TYPES__TORPOR_MQUEUE,
	.match = mqueue_match,
	.collect = mqueue_collect,
	.check = mqueue_check,
	.create = mqueue_create_room,
	.clean = mqueue_clean,
	.describe = mqueue_describe,
};
