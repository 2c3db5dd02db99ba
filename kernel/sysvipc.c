/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kernel/sysvipc.h. Columns: ipc/shm.c, sem.c, msg.c, sysvipc_*_proc_show(). */
#include "kernel/sysvipc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include <errno.h>
#include <string.h>

static bool next(struct cursor *c, int base, uint64_t *ret)
{
	parse_blanks(c);
	return parse_u64(c, base, ret);
}

static bool next_u32(struct cursor *c, int base, uint32_t *ret)
{
	uint64_t v;

	if (!next(c, base, &v) || v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool next_signed(struct cursor *c, int64_t *ret)
{
	parse_blanks(c);
	return parse_i64(c, ret);
}

/* "       key      shmid perms" */
static bool parse_begin(struct cursor *c, struct sysv_perm *ret)
{
	int64_t key, id;

	if (!next_signed(c, &key) || !next_signed(c, &id) || id < 0 || id > INT32_MAX)
		return false;
	ret->key = (int32_t)key;
	ret->id = (int)id;
	return next_u32(c, 8, &ret->mode);
}

static bool parse_owners(struct cursor *c, struct sysv_perm *ret)
{
	return next_u32(c, 10, &ret->uid) && next_u32(c, 10, &ret->gid) &&
		next_u32(c, 10, &ret->cuid) && next_u32(c, 10, &ret->cgid);
}

static bool next_pid(struct cursor *c, pid_t *ret)
{
	int64_t v;

	if (!next_signed(c, &v) || v < 0 || v > INT32_MAX)
		return false;
	*ret = (pid_t)v;
	return true;
}

bool sysv_parse_shm(const char *line, struct sysv_shm *ret)
{
	struct cursor c = cursor_of(line);
	struct sysv_shm s = { 0 };
	pid_t last;

	if (!parse_begin(&c, &s.perm) || !next(&c, 10, &s.size) || !next_pid(&c, &s.creator) ||
		!next_pid(&c, &last) || !next(&c, 10, &s.attached) || !parse_owners(&c, &s.perm))
		return false;
	*ret = s;
	return true;
}

bool sysv_parse_sem(const char *line, struct sysv_sem *ret)
{
	struct cursor c = cursor_of(line);
	struct sysv_sem s = { 0 };

	if (!parse_begin(&c, &s.perm) || !next_u32(&c, 10, &s.n) || !parse_owners(&c, &s.perm))
		return false;
	*ret = s;
	return true;
}

bool sysv_parse_msg(const char *line, struct sysv_msg *ret)
{
	struct cursor c = cursor_of(line);
	struct sysv_msg m = { 0 };

	if (!parse_begin(&c, &m.perm) || !next(&c, 10, &m.bytes) || !next(&c, 10, &m.n) ||
		!next_pid(&c, &m.sender) || !next_pid(&c, &m.receiver) || !parse_owners(&c, &m.perm))
		return false;
	*ret = m;
	return true;
}

/* Calls add for every line but the first, which names the columns. */
static int each_line(const char *path, bool (*add)(const char *line, void *list), void *list,
	struct err *err)
{
	auto_free char *text = NULL;
	char *line, *save = NULL;
	int r = io_slurp(path, &text, NULL);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sysn(err, -r, "cannot read %s", path);
	line = strtok_r(text, "\n", &save);
	while (line && (line = strtok_r(NULL, "\n", &save)))
		if (!add(line, list))
			return err_set(err, ERR_KERNEL, EPROTO, "cannot understand %s", path);
	return 0;
}

static bool add_shm(const char *line, void *list)
{
	struct sysv_shm s;

	if (!sysv_parse_shm(line, &s))
		return false;
	vec_push((struct sysv_shms *)list, s);
	return true;
}

static bool add_sem(const char *line, void *list)
{
	struct sysv_sem s;

	if (!sysv_parse_sem(line, &s))
		return false;
	vec_push((struct sysv_sems *)list, s);
	return true;
}

static bool add_msg(const char *line, void *list)
{
	struct sysv_msg m;

	if (!sysv_parse_msg(line, &m))
		return false;
	vec_push((struct sysv_msgs *)list, m);
	return true;
}

int sysv_list_shm(struct sysv_shms *ret, struct err *err)
{
	return each_line("/proc/sysvipc/shm", add_shm, ret, err);
}

int sysv_list_sem(struct sysv_sems *ret, struct err *err)
{
	return each_line("/proc/sysvipc/sem", add_sem, ret, err);
}

int sysv_list_msg(struct sysv_msgs *ret, struct err *err)
{
	return each_line("/proc/sysvipc/msg", add_msg, ret, err);
}

int sysv_want_id(const char *kind, int id)
{
	char path[64], text[16];

	snprintf(path, sizeof(path), "/proc/sys/kernel/%s_next_id", kind);
	snprintf(text, sizeof(text), "%d", id);
	return io_put(path, text);
}
