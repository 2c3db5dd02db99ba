/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Namespaces held by a descriptor (open of /proc/PID/ns/NAME, ioctl_ns(2)). Those of torpor itself
 * and of the tree's tasks have a number in the images (task_kobj_ids_entry); others are refused,
 * because nobody keeps them until the restore.
 */
#include "base/cleanup.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <string.h>

/* How the link text begins, the file in /proc/PID/ns, the flag of clone(2), the id in the images. */
struct space {
	const char *name;
	uint64_t cflag;
	size_t id, has_id;
};

#define SPACE(field, name, cflag)                                 \
	{ name, cflag, offsetof(TaskKobjIdsEntry, field##_ns_id), \
		offsetof(TaskKobjIdsEntry, has_##field##_ns_id) }
static const struct space spaces[] = {
	SPACE(net, "net", CLONE_NEWNET), SPACE(mnt, "mnt", CLONE_NEWNS),
	SPACE(pid, "pid", CLONE_NEWPID), SPACE(ipc, "ipc", CLONE_NEWIPC),
	SPACE(uts, "uts", CLONE_NEWUTS), SPACE(user, "user", CLONE_NEWUSER),
	SPACE(cgroup, "cgroup", CLONE_NEWCGROUP), SPACE(time, "time", CLONE_NEWTIME),
};
#undef SPACE
enum { SPACES = sizeof(spaces) / sizeof(spaces[0]) };

/* 0: none. */
static uint32_t id_of(const TaskKobjIdsEntry *ids, const struct space *s)
{
	const char *at = (const char *)ids;

	return ids && *(const protobuf_c_boolean *)(at + s->has_id) ?
		*(const uint32_t *)(at + s->id) : 0;
}

static bool nsfile_match(const struct fd_look *l)
{
	return l->fs_type == NSFS_MAGIC;
}

static const struct space *space_of_link(const char *link)
{
	for (size_t i = 0; i < SPACES; i++) {
		size_t n = strlen(spaces[i].name);

		if (!strncmp(link, spaces[i].name, n) && !strncmp(link + n, ":[", 2))
			return &spaces[i];
	}
	return NULL;
}

static bool is_space(pid_t pid, const struct space *s, ino_t ino)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, s->name);
	return stat(path, &st) == 0 && st.st_ino == ino;
}

static uint32_t find_id(const struct fd_look *l, const struct space *s)
{
	if (is_space(getpid(), s, l->st.st_ino))
		return id_of(l->world->inventory->root_ids, s);
	world_each_task(t, l->world)
		if (task_is_alive(t) && is_space(task_live_thread(t)->real, s, l->st.st_ino))
			return id_of(t->ids, s);
	return 0;
}

static int nsfile_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	NsFileEntry *e = arena_msg(l->world->arena, NsFileEntry, ns_file_entry);
	const struct space *s = space_of_link(l->link);
	char who[96];

	e->id = fe->id;
	e->flags = flags_collect(l);
	if (s)
		e->ns_id = find_id(l, s);
	if (!e->ns_id)
		return err_unsupported(err, "%s is the namespace '%s', in which no task of the tree lives; "
			"it cannot be saved", file_look_who(l, who, sizeof(who)), l->link);
	e->ns_cflag = (uint32_t)s->cflag;
	fe->nsf = e;
	return 0;
}

static const struct space *space_of_flag(uint32_t cflag)
{
	for (size_t i = 0; i < SPACES; i++)
		if (spaces[i].cflag == cflag)
			return &spaces[i];
	return NULL;
}

/* A process of the restore that lives in the namespace; 0 if there is none, -1 for torpor itself. */
static pid_t who_lives_in(const struct world *w, const struct space *s, uint32_t id)
{
	if (id_of(w->inventory->root_ids, s) == id)
		return -1;
	world_each_task(t, w)
		if (task_is_alive(t) && id_of(t->ids, s) == id)
			return t->real ? t->real : t->pid;
	return 0;
}

static void nsfile_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const struct space *s = space_of_flag(fe->nsf->ns_cflag);

	if (!s || !fe->nsf->ns_id || !who_lives_in(w, s, fe->nsf->ns_id))
		finding_add(f, "nsfile-id", SEV_ERROR, 0,
			"file %u is a %s namespace (%u) in which no task lives", fe->id,
			s ? s->name : "strange", fe->nsf->ns_id);
}

static int nsfile_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const NsFileEntry *e = fe->nsf;
	const struct space *s = space_of_flag(e->ns_cflag);
	pid_t pid = s ? who_lives_in(m->world, s, e->ns_id) : 0;
	char path[64];

	if (!pid)
		return err_image(err, "no task lives in namespace %u", e->ns_id);
	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid < 0 ? getpid() : pid, s->name);
	*ret_fd = open(path, (e->flags & (O_PATH | O_NONBLOCK)) | O_RDONLY | O_CLOEXEC);
	if (*ret_fd < 0)
		return err_sys(err, "cannot open '%s'", path);
	return 0;
}

static void nsfile_describe(const FileEntry *fe, char *buf, size_t size)
{
	const struct space *s = space_of_flag(fe->nsf->ns_cflag);

	snprintf(buf, size, "%s namespace %u", s ? s->name : "strange", fe->nsf->ns_id);
}

const struct file_kind file_kind_nsfile = {
	.name = "namespace",
	.type = FD_TYPES__NS,
	.match = nsfile_match,
	.collect = nsfile_collect,
	.check = nsfile_check,
	.create = nsfile_create,
	.describe = nsfile_describe,
};
