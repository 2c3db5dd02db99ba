/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/file/family.h. */
#include "kinds/file/family.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "names/deadproc.h"
#include "names/find.h"
#include "names/ghost.h"
#include "names/reach.h"
#include "names/remap.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>

int name_collect(const struct fd_look *l, uint32_t id, uint32_t flags, RegFileEntry **ret,
	struct err *err)
{
	char path[PATH_MAX], who[96];
	enum name_state state = name_find(l->link, &l->st, l->options->evasive_devices, path);
	RegFileEntry *reg = arena_msg(l->world->arena, RegFileEntry, reg_file_entry);
	struct ghost_ask ask = { .world = l->world, .images = l->images, .options = l->options,
		.seen = l->ghosts, .dup = l->dup, .st = &l->st, .path = path, .who = who };
	pid_t dead;

	file_look_who(l, who, sizeof(who));
	reg->id = id;
	reg->flags = flags;
	reg->fown = fown_collect(l);
	reg->name = arena_strdup(l->world->arena, path);
	*ret = reg;
	dead = state == NAME_ELSEWHERE ? deadproc_pid(path, l->fs_type) : 0;
	if (dead) {
		remap_add(l->world, id, REMAP_TYPE__PROCFS, (uint32_t)dead);
		return 0;
	}
	if (state == NAME_ELSEWHERE && (path[0] != '/' || S_ISDIR(l->st.st_mode)))
		return err_unsupported(err, "%s is '%s', which cannot be reached by that name", who,
			l->link);
	if (state == NAME_ELSEWHERE)
		return err_unsupported(err, "%s is '%s', a name that leads to another file or none now, "
			"while the file has other names (%lu); saving that needs --link-remap, which "
			"this version does not have", who, path, (unsigned long)l->st.st_nlink);
	reach_describe(l->world->arena, l->dup, &l->st, l->options, reg);
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
		return err_sys(err, "cannot open '%s' again", self);
	*ret_fd = r;
	return 0;
}
