/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/sysv.h: what all three kinds have in common. */
#include "base/log.h"
#include "kinds/ipc/family.h"
#include <errno.h>
#include <mqueue.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

static const struct {
	const char *file, *name;
	enum image_id image;
} kinds[] = {
	[SYSV_SHM] = { "shm", "the System V shared memory", IMG_IPCNS_SHM },
	[SYSV_SEM] = { "sem", "the System V semaphores", IMG_IPCNS_SEM },
	[SYSV_MSG] = { "msg", "the System V message queue", IMG_IPCNS_MSG },
};

uint32_t sysv_space(const struct world *w)
{
	return w->root->ids->has_ipc_ns_id ? w->root->ids->ipc_ns_id : 0;
}

IpcDescEntry *sysv_desc(struct arena *arena, const struct sysv_perm *p)
{
	IpcDescEntry *d = arena_msg(arena, IpcDescEntry, ipc_desc_entry);

	d->id = (uint32_t)p->id;
	d->key = (uint32_t)p->key;
	d->mode = p->mode;
	d->uid = p->uid;
	d->gid = p->gid;
	d->cuid = p->cuid;
	d->cgid = p->cgid;
	return d;
}

const char *sysv_name(enum sysv_kind kind, const IpcDescEntry *d, char *buf, size_t size)
{
	snprintf(buf, size, "%s %u (key 0x%x)", kinds[kind].name, d->id, d->key);
	return buf;
}

int sysv_next(enum sysv_kind kind, const IpcDescEntry *d, struct err *err)
{
	char name[96];
	int r = d->id > INT32_MAX ? -EINVAL : sysv_want_id(kinds[kind].file, (int)d->id);

	if (r < 0)
		return err_sysn(err, -r, "cannot ask for the number of %s (/proc/sys/kernel/%s_next_id)",
			sysv_name(kind, d, name, sizeof(name)), kinds[kind].file);
	return 0;
}

static void remove_object(const struct sysv_object *o)
{
	int r = o->kind == SYSV_SHM ? shmctl(o->id, IPC_RMID, NULL) :
		o->kind == SYSV_SEM ? semctl(o->id, 0, IPC_RMID) :
				      msgctl(o->id, IPC_RMID, NULL);

	if (r < 0 && errno != EINVAL && errno != EIDRM)
		log_warn("%s %d cannot be removed: %s; it stays (ipcrm(1) removes it)",
			kinds[o->kind].name, o->id, strerror(errno));
}

int sysv_got(struct sysv_made *m, enum sysv_kind kind, int id, const IpcDescEntry *d, struct err *err)
{
	struct sysv_object o = { .kind = kind, .id = id, .made = true };
	char name[96];

	if (id == (int)d->id) {
		vec_push(&m->objects, o);
		return 0;
	}
	remove_object(&o);
	return err_target(err, EEXIST, "%s cannot be made, because another object has its number",
		sysv_name(kind, d, name, sizeof(name)));
}

int sysv_collect(struct file_collector *c, struct world *w, struct err *err)
{
	int r = sysv_collect_shm(c, w, err);

	if (r == 0)
		r = sysv_collect_sem(w, err);
	return r < 0 ? r : sysv_collect_msg(w, err);
}

static int make_one(struct sysv_made *m, enum sysv_kind kind, const struct entry *e, struct err *err)
{
	switch (kind) {
	case SYSV_SHM:
		return sysv_make_shm(m, e->msg, err);
	case SYSV_SEM:
		return sysv_make_sem(m, e, err);
	default:
		return sysv_make_msg(m, e, err);
	}
}

static const IpcDescEntry *desc_of(enum sysv_kind kind, const struct entry *e)
{
	switch (kind) {
	case SYSV_SHM:
		return ((const IpcShmEntry *)e->msg)->desc;
	case SYSV_SEM:
		return ((const IpcSemEntry *)e->msg)->desc;
	default:
		return ((const IpcMsgEntry *)e->msg)->desc;
	}
}

/* A second one with a number would be taken for one that was there before. */
static int make_kind(struct sysv_made *m, enum sysv_kind kind, struct err *err)
{
	const struct entry_list *list = &m->world->entries[kinds[kind].image];
	struct table seen = { 0 };
	char name[96];
	int r = 0;

	for (size_t i = 0; i < list->n && r == 0; i++) {
		const IpcDescEntry *d = desc_of(kind, list->at[i]);

		if (table_get(&seen, d->id))
			r = err_image(err, "%s stands twice in the images",
				sysv_name(kind, d, name, sizeof(name)));
		else
			r = make_one(m, kind, list->at[i], err);
		table_put(&seen, d->id, list->at[i]);
	}
	table_done(&seen);
	return r;
}

int sysv_make(struct world *w, struct image_set *images, struct sysv_made **ret, struct err *err)
{
	struct sysv_made *m = calloc(1, sizeof(*m));
	int r = 0;

	if (!m)
		return err_nomem(err);
	m->world = w;
	m->images = images;
	*ret = m;
	for (enum sysv_kind k = SYSV_SHM; k <= SYSV_MSG && r == 0; k++)
		r = make_kind(m, k, err);
	return r < 0 ? r : sysv_make_mqueues(m, err);
}

int sysv_settle(struct sysv_made *m, struct err *err)
{
	vec_each(o, &m->objects)
		if (o->marked && shmctl(o->id, IPC_RMID, NULL) < 0)
			return err_sys(err, "cannot mark the shared memory %d for removal", o->id);
	return 0;
}

void sysv_undo(struct sysv_made *m)
{
	if (!m)
		return;
	vec_each(o, &m->objects)
		if (o->made)
			remove_object(o);
	vec_each(name, &m->queues)
		mq_unlink(*name);
}

void sysv_done(struct sysv_made *m)
{
	if (!m)
		return;
	vec_done(&m->objects);
	vec_done(&m->queues);
	free(m);
}
