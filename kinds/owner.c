// SPDX-License-Identifier: GPL-2.0-or-later
/* See kinds/owner.h. */
#include "kinds/owner.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

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

void nameless_owner_collect(const struct fd_look *l, uint32_t file_id, mode_t usual)
{
	mode_t mode = l->st.st_mode & 07777;
	TorporFileEntry *extra;

	if (!l->st.st_uid && !l->st.st_gid && mode == usual)
		return;
	extra = world_want_extra(l->world, file_id);
	extra->has_uid = extra->has_gid = true;
	extra->uid = l->st.st_uid;
	extra->gid = l->st.st_gid;
	extra->has_mode = mode != usual;
	extra->mode = mode;
}

int nameless_owner_restore(struct file_maker *m, uint32_t file_id, int fd, struct err *err)
{
	const TorporFileEntry *extra = world_extra(m->world, file_id);

	if (!extra || !extra->has_uid || !extra->has_gid)
		return 0;
	if (fchown(fd, extra->uid, extra->gid) < 0)
		return err_sys(err, "cannot give a pipe or socket to uid %u, gid %u", extra->uid,
			extra->gid);
	if (extra->has_mode && fchmod(fd, extra->mode & 07777) < 0)
		return err_sys(err, "cannot give a pipe or socket the mode %o", extra->mode);
	return 0;
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
	uint32_t mask = O_APPEND | O_DIRECT | O_NOATIME | O_NONBLOCK;
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
