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

int sysv_make(struct world *w, struct image_set *images, struct sysv_made **ret, struct err *err)
{
	struct sysv_made *m = calloc(1, sizeof(*m));
	int r = 0;

	if (!m)
		return err_nomem(err);
	m->world = w;
	m->images = images;
	*ret = m;
	for (enum sysv_kind k = SYSV_SHM; k <= SYSV_MSG; k++) {
		const struct entry_list *list = &w->entries[kinds[k].image];

		for (size_t i = 0; i < list->n && r == 0; i++)
			r = make_one(m, k, list->at[i], err);
	}
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
