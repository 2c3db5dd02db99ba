/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Named POSIX message queues of a restore: see kinds/mqueue.h. */
#include "kernel/mqueue.h"
#include "base/cleanup.h"
#include "kinds/ipc/family.h"
#include "kinds/mqueue.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int fill(int fd, const TorporMqueueContent *c, const char *name, struct err *err)
{
	for (size_t i = 0; i < c->n_messages; i++) {
		const TorporMqueueMessage *m = c->messages[i];

		if (mq_send(fd, (const char *)m->bytes.data, m->bytes.len, m->priority) < 0)
			return err_sys(err, "cannot put a message into the queue '%s'", name);
	}
	return 0;
}

int mqueue_create(const char *name, const TorporMqueueContent *c, int *ret_fd, struct err *err)
{
	struct mq_attr attr = { .mq_maxmsg = (long)c->maxmsg, .mq_msgsize = (long)c->msgsize };
	auto_close int fd = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attr);
	int r;

	if (fd < 0)
		return err_sys(err, "cannot make the message queue '%s' (%llu messages of %llu bytes)",
			name, (unsigned long long)c->maxmsg, (unsigned long long)c->msgsize);
	r = fill(fd, c, name, err);
	if (r == 0 && (fchown(fd, c->uid, c->gid) < 0 || fchmod(fd, c->mode & 07777) < 0))
		r = err_sys(err, "cannot set the owner of the message queue '%s'", name);
	if (r < 0)
		mq_unlink(name);
	else
		*ret_fd = take_fd(&fd);
	return r;
}

static int make_one(struct sysv_made *m, const TorporMqueueEntry *e, struct err *err)
{
	auto_close int fd = -1;
	int r;

	if (!e->content || !e->name)
		return 0;
	fd = mq_open(e->name, O_RDONLY | O_NONBLOCK);
	if (fd >= 0)
		return 0;
	if (errno != ENOENT)
		return err_sys(err, "cannot open the message queue '%s'", e->name);
	r = mqueue_create(e->name, e->content, &fd, err);
	if (r == 0)
		vec_push(&m->queues, e->name);
	return r;
}

int sysv_make_mqueues(struct sysv_made *m, struct err *err)
{
	const struct entry_list *list = &m->world->entries[IMG_TORPOR_FILES];
	int r = 0;

	for (size_t i = 0; i < list->n && r == 0; i++) {
		const TorporFileEntry *x = list->at[i]->msg;

		if (x->mqueue)
			r = make_one(m, x->mqueue, err);
	}
	return r;
}
