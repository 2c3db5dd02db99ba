/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System V objects of the IPC namespace we are in: /proc/sysvipc (sysvipc(7)). */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include <stdint.h>
#include <sys/types.h>

struct sysv_perm {
	int id;
	int32_t key;
	uint32_t mode, uid, gid, cuid, cgid; /* mode: with SHM_DEST, SHM_LOCKED */
};

struct sysv_shm {
	struct sysv_perm perm;
	uint64_t size, attached;
	pid_t creator;
};

struct sysv_sem {
	struct sysv_perm perm;
	uint32_t n;
};

struct sysv_msg {
	struct sysv_perm perm;
	uint64_t bytes, n;
	pid_t sender, receiver; /* the last ones */
};

struct sysv_shms vec_of(struct sysv_shm);
struct sysv_sems vec_of(struct sysv_sem);
struct sysv_msgs vec_of(struct sysv_msg);

/* Lists are empty where the kernel has no such objects. The caller calls vec_done(). */
int sysv_list_shm(struct sysv_shms *ret, struct err *err) must_use;
int sysv_list_sem(struct sysv_sems *ret, struct err *err) must_use;
int sysv_list_msg(struct sysv_msgs *ret, struct err *err) must_use;
/* One line each, without its newline; false: it is not of that form. */
bool sysv_parse_shm(const char *line, struct sysv_shm *ret);
bool sysv_parse_sem(const char *line, struct sysv_sem *ret);
bool sysv_parse_msg(const char *line, struct sysv_msg *ret);
/*
 * The next object of a kind ("shm", "sem", "msg") gets this id, or the next free one: the caller
 * looks (needs CONFIG_CHECKPOINT_RESTORE). -errno.
 */
int sysv_want_id(const char *kind, int id) must_use;
