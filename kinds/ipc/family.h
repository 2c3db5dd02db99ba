/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rooms of System V objects have in common. */
#pragma once
#include "kernel/sysvipc.h"
#include "kinds/sysv.h"

enum sysv_kind { SYSV_SHM, SYSV_SEM, SYSV_MSG };

/* One object that a restore has found or made. */
struct sysv_object {
	enum sysv_kind kind;
	int id;
	bool made; /* by us */
	bool marked; /* a segment: to be removed when the last one detaches */
};

struct sysv_objects vec_of(struct sysv_object);

struct sysv_names vec_of(const char *);

struct sysv_made {
	struct world *world;
	struct image_set *images;
	struct sysv_objects objects;
	struct sysv_names queues; /* POSIX message queues that we have made */
};

/* The number of the tree's IPC namespace in the images. */
uint32_t sysv_space(const struct world *w);
IpcDescEntry *sysv_desc(struct arena *arena, const struct sysv_perm *p);
/* Whether a process of the tree has this pid. */
static inline bool sysv_is_ours(const struct world *w, pid_t pid)
{
	return pid > 0 && world_task(w, pid);
}
/* "System V semaphores 7 (key 0x42)" into buf; returns buf. */
const char *sysv_name(enum sysv_kind kind, const IpcDescEntry *d, char *buf, size_t size);
/* Tells the kernel which id the next object of the kind gets. */
int sysv_next(enum sysv_kind kind, const IpcDescEntry *d, struct err *err) must_use;
/* Notes an object that was made; removes it again if it has another id than it should. */
int sysv_got(struct sysv_made *m, enum sysv_kind kind, int id, const IpcDescEntry *d,
	struct err *err) must_use;

/* ---- the rooms ---- */
int sysv_collect_shm(struct file_collector *c, struct world *w, struct err *err) must_use;
int sysv_collect_sem(struct world *w, struct err *err) must_use;
int sysv_collect_msg(struct world *w, struct err *err) must_use;
int sysv_make_shm(struct sysv_made *m, const IpcShmEntry *e, struct err *err) must_use;
int sysv_make_sem(struct sysv_made *m, const struct entry *entry, struct err *err) must_use;
int sysv_make_mqueues(struct sysv_made *m, struct err *err) must_use;
int sysv_make_msg(struct sysv_made *m, const struct entry *entry, struct err *err) must_use;
