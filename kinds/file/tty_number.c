/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pseudoterminals with a wanted number. The kernel gives out the lowest free one: those with lower
 * numbers are made, too, and kept until another pair wants them or all pairs are there. So any
 * number of pairs in any order costs no more than the highest number.
 */
#include "base/cleanup.h"
#include "base/vec.h"
#include "kinds/file/tty.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

enum { SPARES = 735, SPARES_MAX = 1 << 16 };

struct spare {
	int fd; /* a master, -1 once it is used */
};

struct spares vec_of(struct spare *);

static struct spares *spares_of(struct file_maker *m)
{
	struct spares *all = table_get(&m->made, table_key(SPARES, 0));

	if (!all) {
		all = arena_new_of(m->arena, struct spares);
		table_put(&m->made, table_key(SPARES, 0), all);
	}
	return all;
}

static uint64_t spare_key(const char *ptmx, uint32_t index)
{
	uint64_t key = table_key(SPARES, 1);

	for (; *ptmx; ptmx++)
		key = table_key(key, (uint8_t)*ptmx);
	return table_key(key, index);
}

static void keep(struct file_maker *m, const char *ptmx, uint32_t index, int fd)
{
	struct spare *x = arena_new_of(m->arena, struct spare);

	x->fd = fd;
	vec_push(spares_of(m), x);
	table_put(&m->made, spare_key(ptmx, index), x);
}

void tty_drop_spares(struct file_maker *m)
{
	struct spares *all = spares_of(m);

	vec_each(x, all)
		cleanup_close(&(*x)->fd);
	vec_done(all);
}

/* One more pair: 1 if it is the wanted one, 0 if it is kept; -EEXIST: the wanted number is taken.
 */
static int open_next(
	struct file_maker *m, const char *ptmx, const uint32_t *index, int *ret_fd, struct err *err)
{
	auto_close int fd = open(ptmx, O_RDWR | O_NOCTTY | O_CLOEXEC);
	unsigned got = 0;

	if (fd < 0 || ioctl(fd, TIOCGPTN, &got) < 0)
		return err_sys(err, "cannot make a pseudoterminal by '%s'", ptmx);
	if (!index || got == *index) {
		*ret_fd = take_fd(&fd);
		return 1;
	}
	if (got < *index) {
		keep(m, ptmx, got, take_fd(&fd));
		return 0;
	}
	return err_target(err, EEXIST,
		"pseudoterminal %u of '%s' is in use; restore where it is free "
		"(for instance in a mount namespace with a devpts of its own)",
		*index, ptmx);
}

int tty_open_number(
	struct file_maker *m, const char *ptmx, const uint32_t *index, int *ret_fd, struct err *err)
{
	struct spare *x = index ? table_get(&m->made, spare_key(ptmx, *index)) : NULL;
	const bool had_spares = spares_of(m)->n > 0;
	int r = 0;

	if (x && x->fd >= 0) {
		*ret_fd = take_fd(&x->fd);
		return 0;
	}
	while (r == 0 && spares_of(m)->n < SPARES_MAX)
		r = open_next(m, ptmx, index, ret_fd, err);
	/* It may have been made by another path of the same devpts. */
	if (r == -EEXIST && had_spares) {
		tty_drop_spares(m);
		err_clear(err);
		return tty_open_number(m, ptmx, index, ret_fd, err);
	}
	if (r == 0)
		return err_target(
			err, ENOSPC, "cannot get pseudoterminal %u of '%s'", *index, ptmx);
	return r < 0 ? r : 0;
}
