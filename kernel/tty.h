/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What waits to be read from the two ends of a pseudoterminal (pty(7)): to look at it, and to put it
 * there. A terminal cannot be peeked at: what is looked at is read and put back at once, by a
 * process of its own that finishes whatever happens to its parent.
 *
 * Input of the slave is lines in canonical mode (termios(3)) and perhaps the beginning of one. A
 * line that was ended by an end-of-file character has no newline.
 */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include <stddef.h>

/* Bytes as they are read; behind each part but the last stands an end-of-file if it has no newline. */
struct tty_part {
	char *bytes;
	size_t n;
};

struct tty_parts vec_of(struct tty_part);
void tty_parts_done(struct tty_parts *p);

/* An end of a pair, and its other end; -1: not open. */
struct tty_ends {
	int master, slave;
};

/* What the master would read. */
int tty_peek_master(const struct tty_ends *e, struct tty_parts *ret, struct err *err) must_use;
/* What the slave would read; both ends must be open. */
int tty_peek_slave(const struct tty_ends *e, struct tty_parts *ret, struct err *err) must_use;
/*
 * Puts parts into an end that has nothing to read, of a pair that is not in packet mode; settings
 * stay as they are. -EPERM, -EIO: the kernel does not let us (TIOCSTI needs CAP_SYS_ADMIN).
 */
int tty_put_master(const struct tty_ends *e, const struct tty_parts *p) must_use;
int tty_put_slave(const struct tty_ends *e, const struct tty_parts *p) must_use;
/* A new description of the slave that belongs to this master (TIOCGPTPEER, since 4.13); -errno. */
int tty_open_slave(int master) must_use;
