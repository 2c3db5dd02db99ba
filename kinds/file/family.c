/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/file/family.h. */
#include "kinds/file/family.h"
#include "base/cleanup.h"
#include "base/far.h"
#include "base/log.h"
#include "names/deadproc.h"
#include "names/find.h"
#include "names/ghost.h"
#include "names/handle.h"
#include "names/hidden.h"
#include "names/linkremap.h"
#include "names/reach.h"
#include "names/remap.h"
#include "names/sibling.h"
#include "options/outside.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Whether it lies on a mount of another mount namespace, or on one that was detached: then its path
 * begins at the root of that mount (fanotify(7) with FAN_MARK_FILESYSTEM hands out such files), and
 * the folder of that name here, if there is one, is on another file system.
 */
static bool is_out_of_reach(const struct fd_look *l, const struct handle_space *space,
	const char *path)
{
	char folder[PATH_MAX];
	struct statx x;
	struct stat st;

	if (statx(l->dup, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &x) < 0 ||
		!(x.stx_mask & STATX_MNT_ID) || handle_mount(space, (int)x.stx_mnt_id))
		return false;
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(path, '/') - path + 1), path);
	return far_fstatat(AT_FDCWD, folder, &st, 0) < 0 || st.st_dev != l->st.st_dev;
}

static int refuse_unreachable(const struct fd_look *l, const char *path, const char *who,
	struct err *err)
{
	static const char what[] = "on a mount that is not in this mount namespace (any more), so no "
		"name leads there";

	if (l->fd < 0 || l->mnt_id < 0)
		return err_unsupported(err, "%s is '%s' %s", who, path, what);
	return err_unsupported(err, "%s is '%s' %s; with --external file[%x:%lx] it is not saved but "
		"given to the restore", who, path, what, (unsigned)l->mnt_id,
		(unsigned long)l->st.st_ino);
}

/* Neither by its name nor without one: what is left? */
static int find_elsewhere(const struct fd_look *l, const char *path, const char *who,
	RegFileEntry *reg, struct err *err)
{
	struct link_ask ask = { .world = l->world, .images = l->images, .options = l->options,
		.seen = l->ghosts, .links = l->links, .next_id = l->next_id, .dup = l->dup,
		.st = &l->st, .path = path, .who = who };
	pid_t dead = deadproc_pid(path, l->fs_type);
	struct handle_space *space;
	const char *point, *other;
	int r;

	if (dead) {
		remap_add(l->world, reg->id, REMAP_TYPE__PROCFS, (uint32_t)dead);
		return 0;
	}
	if (path[0] != '/')
		return err_unsupported(err, "%s is '%s', which cannot be reached by that name", who,
			l->link);
	r = look_handles(l, &space, err);
	if (r < 0)
		return r;
	point = hidden_find(space, path, &l->st);
	if (point) {
		world_want_extra(l->world, reg->id)->mount_point =
			arena_strdup(l->world->arena, point);
		return 0;
	}
	/* For what is only mapped another name will do, but --link-remap keeps the lost one. */
	other = l->fd >= 0 || l->options->link_remap ? NULL :
		sibling_find(l->ghosts, l->world->arena, path, &l->st);
	if (other) {
		log_info("%s is '%s', a lost name; its other name '%s' is saved", who, path, other);
		reg->name = (char *)other;
		return 0;
	}
	if (is_out_of_reach(l, space, path))
		return refuse_unreachable(l, path, who, err);
	return linkremap_save(&ask, reg->id, err);
}

/* A file that is not saved but given at the restore. */
static bool is_external(const struct fd_look *l, RegFileEntry *reg)
{
	char key[64];

	if (!l->options->external.n || l->mnt_id < 0)
		return false;
	snprintf(key, sizeof(key), "file[%x:%lx]", (unsigned)l->mnt_id, (unsigned long)l->st.st_ino);
	if (!outside_is_external(l->options, key))
		return false;
	reg->has_ext = reg->ext = true;
	reg->name = arena_strdup(l->world->arena, key);
	return true;
}

/* NFS keeps a removed file that is open by such a name, until it is closed ("silly rename"). */
static bool is_silly(const struct fd_look *l, const char *path)
{
	const char *slash = strrchr(path, '/');

	return l->fs_type == NFS_SUPER_MAGIC && slash && !strncmp(slash, "/.nfs", 5);
}

int name_collect(const struct fd_look *l, uint32_t id, uint32_t flags, RegFileEntry **ret,
	struct err *err)
{
	char path[PATH_MAX], who[96];
	enum name_state state = name_find(l->link, &l->st, l->options->evasive_devices, path);
	RegFileEntry *reg = arena_msg(l->world->arena, RegFileEntry, reg_file_entry);
	struct ghost_ask ask = { .world = l->world, .images = l->images, .options = l->options,
		.seen = l->ghosts, .dup = l->dup, .st = &l->st, .path = path, .who = who };

	file_look_who(l, who, sizeof(who));
	reg->id = id;
	reg->flags = flags;
	reg->fown = fown_collect(l);
	reg->name = arena_strdup(l->world->arena, path);
	*ret = reg;
	if (is_external(l, reg))
		return 0;
	if (state == NAME_HERE && is_silly(l, path))
		state = NAME_ELSEWHERE;
	if (l->fs_type != PROC_SUPER_MAGIC || state != NAME_ELSEWHERE)
		reach_describe(l->world, l->dup, &l->st, l->options, reg);
	if (state == NAME_ELSEWHERE)
		return find_elsewhere(l, path, who, reg, err);
	return state == NAME_GONE ? ghost_save(&ask, id, err) : 0;
}

int name_collect_companion(const struct fd_look *l, uint32_t flags, uint32_t *ret_id,
	struct err *err)
{
	FileEntry *fe = arena_msg(l->world->arena, FileEntry, file_entry);
	int r;

	fe->type = FD_TYPES__REG;
	fe->id = (*l->next_id)++;
	r = name_collect(l, fe->id, flags, &fe->reg, err);
	if (r < 0)
		return r;
	*ret_id = fe->id;
	return world_add_file(l->world, fe, err);
}

int name_open_companion(struct file_maker *m, uint32_t id, int flags, int *ret_fd, struct err *err)
{
	FileEntry *fe = world_file(m->world, id);

	if (!fe || !fe->reg)
		return err_image(err, "file entry %u is not there or has no name", id);
	return reach_open(m->reach, fe->reg, flags, ret_fd, err);
}

int reopen(int fd, int flags, int *ret_fd, struct err *err)
{
	char self[64];
	int r;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	r = open(self, flags | O_CLOEXEC | O_NOCTTY);
	if (r < 0)
		return errno == EMFILE
			       ? err_sys(err,
					 "torpor may not have more files open at a time "
					 "(its hard limit RLIMIT_NOFILE; 'ulimit -Hn' shows it)")
			       : err_sys(err, "cannot open '%s' again", self);
	*ret_fd = r;
	return 0;
}
