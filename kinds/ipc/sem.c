/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of System V semaphores (semget(2)): their values. */
#include "base/cleanup.h"
#include "kinds/ipc/family.h"
#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/sem.h>

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

/* Has a process of the tree operated on one of them last? */
static bool is_used(const struct world *w, const struct sysv_sem *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (sysv_is_ours(w, semctl(s->perm.id, (int)i, GETPID)))
			return true;
	return false;
}

static int save(struct world *w, const struct sysv_sem *s, struct err *err)
{
	size_t len = (s->n * sizeof(uint16_t) + 7) & ~(size_t)7;
	IpcSemEntry *e = arena_msg(w->arena, IpcSemEntry, ipc_sem_entry);
	union semun values = { .array = arena_alloc(w->arena, len) };
	struct entry *entry;

	if (semctl(s->perm.id, 0, GETALL, values) < 0)
		return err_sys(err, "cannot read the System V semaphores %d", s->perm.id);
	e->desc = sysv_desc(w->arena, &s->perm);
	e->nsems = s->n;
	entry = world_add(w, IMG_IPCNS_SEM, sysv_space(w), e);
	entry->payload = values.array;
	entry->payload_len = len;
	return 0;
}

int sysv_collect_sem(struct world *w, struct err *err)
{
	struct sysv_sems list = { 0 };
	int r = sysv_list_sem(&list, err);

	vec_each(s, &list)
		if (r == 0 && is_used(w, s))
			r = save(w, s, err);
	vec_done(&list);
	return r;
}

static int set_values(int id, const IpcSemEntry *e, const void *payload, struct err *err)
{
	struct semid_ds ds = { .sem_perm = { .uid = e->desc->uid, .gid = e->desc->gid,
					.mode = (unsigned short)(e->desc->mode & 0777) } };
	union semun owner = { .buf = &ds }, values = { .array = (unsigned short *)payload };

	if (semctl(id, 0, SETALL, values) < 0 || semctl(id, 0, IPC_SET, owner) < 0)
		return err_sys(err, "cannot set the System V semaphores %d", id);
	return 0;
}

int sysv_make_sem(struct sysv_made *m, const struct entry *entry, struct err *err)
{
	const IpcSemEntry *e = entry->msg;
	struct semid_ds ds;
	char name[96];
	int id, r;

	sysv_name(SYSV_SEM, e->desc, name, sizeof(name));
	if (!e->nsems || e->nsems > 32000 || entry->payload_len < e->nsems * sizeof(uint16_t))
		return err_image(err, "%s: a set of %u", name, e->nsems);
	if (semctl((int)e->desc->id, 0, IPC_STAT, (union semun){ .buf = &ds }) == 0) {
		if (ds.sem_perm.__key == (key_t)e->desc->key && ds.sem_nsems == e->nsems)
			return 0;
		return err_target(err, EEXIST, "%s: other semaphores have that number", name);
	}
	r = sysv_next(SYSV_SEM, e->desc, err);
	if (r < 0)
		return r;
	id = semget((key_t)e->desc->key, (int)e->nsems,
		IPC_CREAT | IPC_EXCL | (int)(e->desc->mode & 0777));
	if (id < 0)
		return err_sys(err, "cannot make %s", name);
	r = sysv_got(m, SYSV_SEM, id, e->desc, err);
	return r < 0 ? r : set_values(id, e, entry->payload, err);
}
