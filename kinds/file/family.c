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
#include <sys/syscall.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17 /* uapi/linux/fcntl.h, not in the C library's header */
#endif

FownEntry *fown_collect(const struct fd_look *l)
{
	FownEntry *e = arena_msg(l->world->arena, FownEntry, fown_entry);
	struct f_owner_ex owner = { 0 };
	uid_t ids[2] = { 0 };
	int sig;

	if (l->fd < 0 || (l->flags & O_PATH))
		return e;
	sig = fcntl(l->dup, F_GETSIG);
	if (sig > 0)
		e->signum = (uint32_t)sig;
	if (fcntl(l->dup, F_GETOWN_EX, &owner) < 0 || !owner.pid)
		return e;
	e->pid_type = (uint32_t)owner.type;
	e->pid = (uint32_t)owner.pid;
	if (fcntl(l->dup, F_GETOWNER_UIDS, ids) == 0) {
		e->uid = ids[0];
		e->euid = ids[1];
	}
	return e;
}

/*
 * The kernel notes the caller's ids as those of the owner. Raw calls: they concern this thread
 * only. The saved id stays 0, so the way back is open.
 */
static int own_as(int fd, const FownEntry *fown)
{
	struct f_owner_ex owner = { .type = (int)fown->pid_type, .pid = (pid_t)fown->pid };
	bool other = fown->uid != getuid() || fown->euid != geteuid();
	uid_t uid = getuid(), euid = geteuid();
	int r;

	if (other && syscall(SYS_setresuid, fown->uid, fown->euid, euid) < 0)
		return -errno;
	r = fcntl(fd, F_SETOWN_EX, &owner) < 0 ? -errno : 0;
	if (other && syscall(SYS_setresuid, uid, euid, euid) < 0)
		return -errno;
	return r;
}

int fown_restore(int fd, const FownEntry *fown, struct err *err)
{
	int r;

	if (fown->signum && fcntl(fd, F_SETSIG, (long)fown->signum) < 0)
		return err_sys(err, "cannot set the signal of a descriptor");
	if (!fown->pid)
		return 0;
	r = own_as(fd, fown);
	/* An owner that is no more gets no signals either way. */
	if (r == -ESRCH) {
		log_warn("the owner of a descriptor's signals, %u, is not there: it gets none",
			fown->pid);
		return 0;
	}
	if (r < 0)
		return err_sysn(err, -r, "cannot set the owner of a descriptor's signals");
	return 0;
}

int flags_restore(int fd, uint32_t flags, struct err *err)
{
	uint32_t mask = O_APPEND | O_ASYNC | O_DIRECT | O_NOATIME | O_NONBLOCK;
	int now = fcntl(fd, F_GETFL);

	if (now < 0)
		return err_sys(err, "cannot read the flags of a descriptor");
	if (((uint32_t)now & mask) == (flags & mask))
		return 0;
	if (fcntl(fd, F_SETFL, (int)(flags & mask)) < 0)
		return err_sys(err, "cannot set the flags 0%o of a descriptor", flags & mask);
	return 0;
}

uint32_t flags_collect(const struct fd_look *l)
{
	uint32_t flags = (uint32_t)l->flags & ~(uint32_t)O_CLOEXEC;

	/* O_TMPFILE contains O_DIRECTORY; neither is a property of the open regular file. */
	if (S_ISREG(l->st.st_mode) && (flags & O_TMPFILE) == O_TMPFILE)
		flags &= ~(uint32_t)O_TMPFILE;
	return flags;
}

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
