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
#include <sys/types.h>

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

/* What the ends would read. */
struct tty_waiting {
	struct tty_parts master, slave;
	bool closed; /* no slave is open */
};

void tty_waiting_done(struct tty_waiting *w);

/* Looks at any number of pairs, one after the other. */
struct tty_looker {
	int fd;
	pid_t pid;
};

/* The ends of the nth pair, to be closed by the caller; slave -1: nobody has it. -errno. */
typedef int tty_open_fn(void *ctx, size_t nth, struct tty_ends *ret);

/* Starts the process for n pairs, which calls open_pair itself; -errno. */
int tty_look_begin(struct tty_looker *ret, size_t n, tty_open_fn *open_pair, void *ctx) must_use;
/* The next pair; ret is to be freed also after a failure (-errno). */
int tty_look_next(struct tty_looker *l, struct tty_waiting *ret) must_use;
/* Waits until the process has put back what it has taken and is no more. */
void tty_look_end(struct tty_looker *l);

/*
 * Puts parts into an end that has nothing to read, of a pair that is not in packet mode; settings
 * stay as they are. -EPERM, -EIO: the kernel does not let us (TIOCSTI needs CAP_SYS_ADMIN).
 */
int tty_put_master(const struct tty_ends *e, const struct tty_parts *p) must_use;
int tty_put_slave(const struct tty_ends *e, const struct tty_parts *p) must_use;
/* A new description of the slave that belongs to this master (TIOCGPTPEER, since 4.13); -errno. */
int tty_open_slave(int master) must_use;
