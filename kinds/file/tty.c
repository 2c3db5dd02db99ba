/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal of the shell that started the tree (--shell-job). It is not saved but described;
 * a restore gives the tree the terminal torpor itself stands on, with the saved settings.
 *
 * One tty_info_entry per terminal, one tty_file_entry with a REG entry for its path per
 * description.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/proc_stat.h"
#include "kinds/file/family.h"
#include "kinds/file/rooms.h"
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

enum { ID_CONSOLE = 1002, ID_VT = 1004, ID_CTTY = 1006, ID_SERIAL = 1010 };
enum { PTS_MAJOR = 136, PTS_MAJORS = 8, CC_WORDS = 19 };

static bool tty_match(const struct fd_look *l)
{
	unsigned maj = major(l->st.st_rdev), min = minor(l->st.st_rdev);

	if (!S_ISCHR(l->st.st_mode) || l->link[0] != '/' || (l->flags & O_PATH))
		return false;
	return maj == 4 || (maj == 5 && min != 2) || (maj >= PTS_MAJOR && maj < PTS_MAJOR + PTS_MAJORS);
}

static uint32_t index_of(dev_t rdev, TtyType *ret_type)
{
	unsigned maj = major(rdev), min = minor(rdev);

	*ret_type = maj >= PTS_MAJOR ? TTY_TYPE__PTY :
		maj == 5 && min == 0 ? TTY_TYPE__CTTY :
		maj == 5	     ? TTY_TYPE__CONSOLE :
		min < 64	     ? TTY_TYPE__VT :
				       TTY_TYPE__SERIAL;
	switch (*ret_type) {
	case TTY_TYPE__PTY:
		return (maj - PTS_MAJOR) * 256 + min;
	case TTY_TYPE__CTTY:
		return ID_CTTY;
	case TTY_TYPE__CONSOLE:
		return ID_CONSOLE;
	case TTY_TYPE__VT:
		return ID_VT;
	default:
		return ID_SERIAL;
	}
}

static TermiosEntry *termios_of(struct arena *arena, int fd, unsigned long request)
{
	struct termios t = { 0 };
	TermiosEntry *e;

	if (ioctl(fd, request, &t) < 0)
		return NULL;
	e = arena_msg(arena, TermiosEntry, termios_entry);
	e->c_iflag = t.c_iflag;
	e->c_oflag = t.c_oflag;
	e->c_cflag = t.c_cflag;
	e->c_lflag = t.c_lflag;
	e->c_line = t.c_line;
	/* One word each by count, but the bytes lie packed in the first ones. */
	e->n_c_cc = CC_WORDS;
	e->c_cc = arena_array(arena, CC_WORDS, sizeof(*e->c_cc));
	memcpy(e->c_cc, t.c_cc, sizeof(t.c_cc));
	return e;
}

/* Session and foreground group, if this is the controlling terminal of the task. */
static int note_session(const struct fd_look *l, TtyInfoEntry *e, struct err *err)
{
	auto_free char *text = NULL;
	struct proc_stat ps;
	int r = io_slurpf(&text, NULL, "/proc/%d/stat", l->tid);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the state of task %d", l->task->pid);
	r = proc_stat_parse(text, &ps, err);
	if (r < 0)
		return r;
	if ((dev_t)ps.tty_nr == l->st.st_rdev || e->type == TTY_TYPE__CTTY) {
		e->sid = (uint32_t)ps.session;
		e->pgrp = ps.tpgid > 0 ? (uint32_t)ps.tpgid : 0;
	}
	return 0;
}

static int add_info(const struct fd_look *l, uint32_t id, TtyType type, struct err *err)
{
	struct arena *arena = l->world->arena;
	TtyInfoEntry *e = arena_msg(arena, TtyInfoEntry, tty_info_entry);
	struct winsize ws;
	int exclusive = 0;
	int r;

	e->id = id;
	e->type = type;
	e->rdev = (uint32_t)l->st.st_rdev;
	e->has_dev = e->has_uid = e->has_gid = true;
	e->dev = (uint32_t)l->st.st_dev;
	e->uid = l->st.st_uid;
	e->gid = l->st.st_gid;
	r = note_session(l, e, err);
	if (r < 0)
		return r;
	if (ioctl(l->dup, TIOCGEXCL, &exclusive) == 0)
		e->exclusive = exclusive != 0;
	e->termios = termios_of(arena, l->dup, TCGETS);
	e->termios_locked = termios_of(arena, l->dup, TIOCGLCKTRMIOS);
	if (ioctl(l->dup, TIOCGWINSZ, &ws) == 0) {
		e->winsize = arena_msg(arena, WinsizeEntry, winsize_entry);
		e->winsize->ws_row = ws.ws_row;
		e->winsize->ws_col = ws.ws_col;
		e->winsize->ws_xpixel = ws.ws_xpixel;
		e->winsize->ws_ypixel = ws.ws_ypixel;
	}
	if (type == TTY_TYPE__PTY) {
		e->pty = arena_msg(arena, TtyPtyEntry, tty_pty_entry);
		e->pty->index = id >> 1;
	}
	world_add(l->world, IMG_TTY_INFO, 0, e);
	return 0;
}

static int tty_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	TtyFileEntry *e = arena_msg(l->world->arena, TtyFileEntry, tty_file_entry);
	TtyType type;
	uint32_t id = index_of(l->st.st_rdev, &type) << 1;
	uint64_t key = table_key(FD_TYPES__TTY, id);
	char who[96];
	int r = 0;

	if (!l->options->shell_job)
		return err_unsupported(err, "%s is the terminal '%s' of a shell outside of the tree; saving "
			"it needs --shell-job (at the dump and at the restore)",
			file_look_who(l, who, sizeof(who)), l->link);
	if (!table_get(l->seen, key)) {
		table_put(l->seen, key, e);
		r = add_info(l, id, type, err);
	}
	e->id = fe->id;
	e->tty_info_id = id;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	e->has_regf_id = true;
	fe->tty = e;
	return r < 0 ? r : name_collect_companion(l, e->flags, &e->regf_id, err);
}

static const TtyInfoEntry *info_of(const struct world *w, uint32_t id)
{
	const struct entry_list *list = &w->entries[IMG_TTY_INFO];

	for (size_t i = 0; i < list->n; i++)
		if (((TtyInfoEntry *)list->at[i]->msg)->id == id)
			return list->at[i]->msg;
	return NULL;
}

static void tty_check(const struct world *w, const FileEntry *fe, struct findings *f)
{
	const TtyInfoEntry *info = fe->tty ? info_of(w, fe->tty->tty_info_id) : NULL;

	if (fe->tty && !info)
		finding_add(f, "tty-info", SEV_ERROR, 0, "terminal (file %u) is not described", fe->id);
	if (fe->tty && fe->tty->tty_info_id & 1)
		finding_add(f, "tty-master", SEV_ERROR, 0,
			"file %u is the master of a pseudoterminal, which this version cannot restore",
			fe->id);
}

/* The terminal torpor stands on, by its own path if possible. */
static int open_ours(const TtyInfoEntry *info, int flags, struct err *err)
{
	char path[64];
	unsigned dev = 0;
	auto_close int ctty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	int fd;

	flags = (flags & O_ACCMODE) | O_NOCTTY | O_CLOEXEC | O_NONBLOCK;
	if (ctty >= 0 && info->type != TTY_TYPE__CTTY && ioctl(ctty, TIOCGDEV, &dev) == 0 &&
		major(dev) >= PTS_MAJOR) {
		snprintf(path, sizeof(path), "/dev/pts/%u",
			(major(dev) - PTS_MAJOR) * 256 + minor(dev));
		fd = open(path, flags);
		if (fd >= 0)
			return fd;
	}
	if (ctty >= 0)
		return open("/dev/tty", flags);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", i);
		if (isatty(i) && (fd = open(path, flags)) >= 0)
			return fd;
	}
	return err_target(err, ENOTTY, "the tree needs a terminal, and torpor has none to give; run the "
		"restore in a terminal");
}

/* Settings of the saved terminal; from the background that would stop us without the mask. */
static void set_termios(int fd, const TermiosEntry *e)
{
	struct termios t = { 0 };
	sigset_t block, old;

	if (!e || e->n_c_cc * 4 < sizeof(t.c_cc))
		return;
	t.c_iflag = e->c_iflag;
	t.c_oflag = e->c_oflag;
	t.c_cflag = e->c_cflag;
	t.c_lflag = e->c_lflag;
	t.c_line = (cc_t)e->c_line;
	memcpy(t.c_cc, e->c_cc, sizeof(t.c_cc));
	sigemptyset(&block);
	sigaddset(&block, SIGTTOU);
	sigprocmask(SIG_BLOCK, &block, &old);
	(void)!ioctl(fd, TCSETS, &t);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static int tty_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	const TtyFileEntry *e = fe->tty;
	const TtyInfoEntry *info = info_of(m->world, e->tty_info_id);
	uint64_t key = table_key(FD_TYPES__TTY, e->tty_info_id);
	auto_close int fd = -1;
	int r;

	if (!info)
		return err_image(err, "tty-info.img does not describe terminal %u", e->tty_info_id);
	if (!m->options->shell_job)
		return err_usage(err, "the tree stood on a terminal; restoring it needs --shell-job");
	fd = open_ours(info, (int)e->flags, err);
	if (fd < 0)
		return err_is_set(err) ? fd : err_sys(err, "cannot open torpor's terminal");
	if (!table_get(&m->made, key)) {
		table_put(&m->made, key, m);
		set_termios(fd, info->termios);
	}
	r = fown_restore(fd, e->fown, err);
	if (r == 0)
		r = flags_restore(fd, e->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
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
	.check = tty_check,
	.create = tty_create,
	.describe = tty_describe,
};
