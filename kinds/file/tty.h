/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The room of terminals, kinds/file/tty*.c only. Where a terminal of the images comes from:
 *
 *   PAIR     a pseudoterminal whose master the tree has: made anew, both ends, same number
 *   HUNG     a slave whose master is gone: a pair is made, its slaves opened, its master closed
 *   NAMED    console, virtual terminal, serial line: opened by name
 *   CURRENT  /dev/tty of a session of the tree: opened by a task of that session
 *   OURS     the terminal of a shell outside of the tree (--shell-job): the one torpor stands on
 *   GIVEN    an external terminal (--external tty[...]): a descriptor given by --inherit-fd
 *
 * One tty_info_entry per end, one tty_file_entry with a REG entry for its path per description. The
 * ids of both ends of a pair differ in bit 0 only, which is set for the master.
 */
#pragma once
#include "kinds/kind.h"

enum tty_origin { TTY_PAIR, TTY_HUNG, TTY_NAMED, TTY_CURRENT, TTY_OURS, TTY_GIVEN };

enum { TTY_PTMX_MAJOR = 5, TTY_PTMX_MINOR = 2, TTY_PTS_MAJOR = 136, TTY_PTS_MAJORS = 8 };

/* ---- tty.c ---- */
const TtyInfoEntry *tty_info_of(const struct world *w, uint32_t id);
/* peer: the entry of the other end, NULL if there is none. */
enum tty_origin tty_origin_of(const struct world *w, const TtyInfoEntry *e, const TtyInfoEntry *peer);

/* ---- tty_attr.c: settings ---- */
/* All that an open terminal tells of itself: termios, window, exclusive, packet mode, lock. */
void tty_attr_collect(struct arena *arena, int fd, TtyInfoEntry *e);
/* Terminal and window settings of e; from the background that does not stop us. */
void tty_attr_set(int fd, const TtyInfoEntry *e);
/* What would get in the way of opening: exclusive, packet mode, lock. */
int tty_attr_lock(int fd, const TtyInfoEntry *e, struct err *err) must_use;

/* ---- tty_dump.c ---- */
int tty_collect(const struct fd_look *l, FileEntry *fe, struct err *err) must_use;
int tty_settle(const struct settle *s, struct err *err) must_use;

/* ---- tty_make.c ---- */
void tty_prepare(struct file_maker *m);
int tty_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err) must_use;
int tty_lead(struct file_maker *m, const struct task *t, struct err *err) must_use;
int tty_join(struct file_maker *m, struct err *err) must_use;
void tty_clean(struct file_maker *m);
/* ---- tty_number.c ---- */
/* A master made by opening ptmx, with that number, NULL: any. */
int tty_open_number(struct file_maker *m, const char *ptmx, const uint32_t *index, int *ret_fd,
	struct err *err) must_use;
/* Closes what was made for the sake of numbers only. */
void tty_drop_spares(struct file_maker *m);
/* ---- tty_ours.c ---- */
/* A new description of the terminal torpor stands on. */
int tty_open_ours(const TtyInfoEntry *info, int flags, int *ret_fd, struct err *err) must_use;
