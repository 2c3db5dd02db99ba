/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Terminals: which descriptors are one, checks, the table. See kinds/file/tty.h. */
#include "kinds/file/tty.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <fcntl.h>
#include <sys/sysmacros.h>

/* drivers: virtual and serial (4), tty, console, ptmx (5), USB and ARM serial lines, consoles of hypervisors */
static bool is_tty_major(unsigned maj)
{
	return maj == 4 || maj == TTY_PTMX_MAJOR || maj == 188 || maj == 204 || maj == 229 ||
		(maj >= TTY_PTS_MAJOR && maj < TTY_PTS_MAJOR + TTY_PTS_MAJORS);
}

static bool tty_match(const struct fd_look *l)
{
	return S_ISCHR(l->st.st_mode) && l->link[0] == '/' && !(l->flags & O_PATH) &&
		is_tty_major(major(l->st.st_rdev));
}

const TtyInfoEntry *tty_info_of(const struct world *w, uint32_t id)
{
	const struct entry *e = world_entry(w, IMG_TTY_INFO, id);

	return e ? e->msg : NULL;
}

static bool leader_is_inside(const struct world *w, uint32_t sid)
{
	const struct task *t = sid && sid <= INT32_MAX ? world_task(w, (pid_t)sid) : NULL;

	return t && t->sid == t->pid;
}

enum tty_origin tty_origin_of(const struct world *w, const TtyInfoEntry *e, const TtyInfoEntry *peer)
{
	switch (e->type) {
	case TTY_TYPE__PTY:
		if (e->id & 1 || peer)
			return TTY_PAIR;
		return e->termios ? TTY_OURS : TTY_HUNG;
	case TTY_TYPE__CTTY:
		return leader_is_inside(w, e->sid) ? TTY_CURRENT : TTY_OURS;
	case TTY_TYPE__EXT_TTY:
		return TTY_GIVEN;
	default:
		return !e->sid || leader_is_inside(w, e->sid) ? TTY_NAMED : TTY_OURS;
	}
}

static const RegFileEntry *name_of(const struct world *w, const TtyFileEntry *e)
{
	const FileEntry *fe = e->has_regf_id ? world_file(w, e->regf_id) : NULL;

	return fe ? fe->reg : NULL;
}

static void tty_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const TtyInfoEntry *info = tty_info_of(w, fe->tty->tty_info_id);
	const RegFileEntry *name = name_of(w, fe->tty);

	if (!info) {
		finding_add(f, "tty-info", SEV_ERROR, 0, "terminal (file %u) is not described", fe->id);
		return;
	}
	if (info->type == TTY_TYPE__PTY && (!info->pty || info->pty->index > 1 << 20))
		finding_add(f, "tty-index", SEV_ERROR, 0, "pseudoterminal (file %u) has no number", fe->id);
	if (!name || name->name[0] != '/')
		finding_add(f, "tty-name", SEV_ERROR, 0, "terminal (file %u) has no name", fe->id);
	if (info->type < TTY_TYPE__PTY || info->type > TTY_TYPE__SERIAL)
		finding_add(f, "tty-type", SEV_ERROR, 0, "terminal (file %u) is of type %d", fe->id,
			info->type);
}

static void tty_describe(const FileEntry *fe, char *buf, size_t size)
{
	snprintf(buf, size, "terminal %u%s", fe->tty->tty_info_id >> 1,
		fe->tty->tty_info_id & 1 ? " master" : "");
}

const struct file_kind file_kind_tty = {
	.name = "terminal",
	.type = FD_TYPES__TTY,
	.match = tty_match,
	.collect = tty_collect,
	.settle = tty_settle,
	.check = tty_check,
	.prepare = tty_prepare,
	.lead = tty_lead,
	.create = tty_create,
	.join = tty_join,
	.clean = tty_clean,
	.describe = tty_describe,
};
