/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Restore of terminals (kinds/file/tty.h).
 *
 *   lead     a session's leader gets its controlling terminal while it has no children
 *   create   the pair is made when its first descriptor is asked for: settings, what waited in it
 *   join     what would be in the way before: locks, packet mode; masters of hung-up slaves close;
 *            foreground groups, which exist now
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "base/vec.h"
#include "kernel/tty.h"
#include "kinds/file/family.h"
#include "kinds/file/tty.h"
#include "kinds/place.h"
#include "options/outside.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { BY_SESSION = 730 };

/* One end of the images. */
struct made {
	const TtyInfoEntry *info;
	struct made *peer;
	const TtyFileEntry *file; /* one description of it */
	int fd; /* holds it, -1 until made; of a master it is its only description */
	struct tty_parts waiting; /* what was not read; bytes belong to the images */
	char path[PATH_MAX]; /* of a slave, once the pair is made */
	bool given; /* the master's description */
	bool ruled; /* its session and foreground group are set */
};

static uint64_t made_key(uint32_t id)
{
	return table_key(FD_TYPES__TTY, id);
}

static struct made *find_made(struct file_maker *m, uint32_t id)
{
	return table_get(&m->made, made_key(id));
}

static enum tty_origin origin_of(struct file_maker *m, const struct made *x)
{
	return tty_origin_of(m->world, x->info, x->peer ? x->peer->info : NULL);
}

static const RegFileEntry *name_of(struct file_maker *m, const struct made *x)
{
	const FileEntry *fe = x && x->file ? world_file(m->world, x->file->regf_id) : NULL;

	return fe ? fe->reg : NULL;
}

static const struct task *leader_of(struct file_maker *m, const struct made *x)
{
	uint32_t sid = x->info->sid;
	const struct task *t = sid && sid <= INT32_MAX ? world_task(m->world, (pid_t)sid) : NULL;

	return t && t->sid == t->pid && task_is_alive(t) ? t : NULL;
}

/* A terminal that can be given to a session: no master, not /dev/tty. */
static bool can_be_controlling(struct file_maker *m, const struct made *x)
{
	enum tty_origin o = origin_of(m, x);

	return !(x->info->id & 1) && (o == TTY_PAIR || o == TTY_NAMED);
}

void tty_prepare(struct file_maker *m)
{
	struct entry_list *infos = &m->world->entries[IMG_TTY_INFO];
	struct entry_list *data = &m->world->entries[IMG_TTY_DATA];
	struct entry_list *files = &m->world->entries[IMG_FILES];

	for (size_t i = 0; i < infos->n; i++) {
		const TtyInfoEntry *e = infos->at[i]->msg;
		struct made *x = arena_new_of(m->arena, struct made);

		x->info = e;
		x->fd = -1;
		if (e->type == TTY_TYPE__PTY)
			x->peer = find_made(m, e->id ^ 1);
		if (x->peer)
			x->peer->peer = x;
		table_put(&m->made, made_key(e->id), x);
	}
	for (size_t i = 0; i < files->n; i++) {
		const FileEntry *fe = files->at[i]->msg;
		struct made *x = fe->type == FD_TYPES__TTY ? find_made(m, fe->tty->tty_info_id) : NULL;

		if (x && !x->file)
			x->file = fe->tty;
	}
	for (size_t i = 0; i < data->n; i++) {
		const TtyDataEntry *d = data->at[i]->msg;
		struct made *x = find_made(m, d->tty_id);

		if (x)
			vec_push(&x->waiting, ((struct tty_part){ (char *)d->data.data, d->data.len }));
	}
	for (size_t i = 0; i < infos->n; i++) {
		struct made *x = find_made(m, ((TtyInfoEntry *)infos->at[i]->msg)->id);

		if (x->info->sid && can_be_controlling(m, x))
			table_put(&m->made, table_key(BY_SESSION, x->info->sid), x);
	}
}

/* ---- pairs ---- */

/* The node to open for a new pair, and where its slaves appear. */
static void pair_paths(struct file_maker *m, const struct made *master, const struct made *slave,
	char *ptmx, char *dir)
{
	const RegFileEntry *of_master = name_of(m, master), *of_slave = name_of(m, slave);
	char *slash;

	snprintf(ptmx, PATH_MAX, "%s", of_master ? of_master->name : "/dev/ptmx");
	snprintf(dir, PATH_MAX, "%s", of_slave ? of_slave->name : "/dev/pts/0");
	slash = strrchr(dir, '/');
	*slash = '\0';
	/* Without a master of its own: the ptmx node in the slave's devpts, if it may be used. */
	if (!of_master && of_slave && strcmp(dir, "/dev/pts") != 0)
		snprintf(ptmx, PATH_MAX, "%.4000s/ptmx", dir);
}

/* Owner and mode of the slave's node, before it is opened. */
static int set_owner(struct file_maker *m, const struct made *slave, struct err *err)
{
	const RegFileEntry *reg = name_of(m, slave);
	const TtyInfoEntry *e = slave->info;

	if (e->has_uid && e->has_gid && chown(slave->path, e->uid, e->gid) < 0)
		return err_sys(err, "cannot give '%s' to uid %u, gid %u", slave->path, e->uid, e->gid);
	if (reg && reg->has_mode && chmod(slave->path, reg->mode & 07777) < 0)
		return err_sys(err, "cannot set the mode of '%s'", slave->path);
	return 0;
}

static int fill_pair(struct made *master, struct made *slave, struct err *err)
{
	struct tty_ends ends = { .master = master->fd, .slave = slave ? slave->fd : -1 };
	int r = tty_put_master(&ends, &master->waiting);

	if (r == 0 && slave && slave->waiting.n)
		r = tty_put_slave(&ends, &slave->waiting);
	if (r == -EPERM || r == -EIO) {
		log_warn("what was not read from pseudoterminal %u is lost: putting it back needs "
			"CAP_SYS_ADMIN", master->info->pty->index);
		return 0;
	}
	if (r < 0)
		return err_sysn(err, -r, "cannot put back what was not read from pseudoterminal %u",
			master->info->pty->index);
	return 0;
}

/* Either end may be missing in the images; a hung-up slave has no master there. */
static int make_pair(struct file_maker *m, struct made *one, struct err *err)
{
	struct made *master = one->info->id & 1 ? one : one->peer;
	struct made *slave = one->info->id & 1 ? one->peer : one;
	uint32_t index = one->info->pty->index;
	char ptmx[PATH_MAX], dir[PATH_MAX];
	int unlock = 0, fd, r;
	unsigned got;

	if ((master ? master : slave)->fd >= 0)
		return 0;
	pair_paths(m, master, slave, ptmx, dir);
	r = tty_open_number(m, ptmx, &index, &fd, err);
	/* Who has hung up has no name for it any more. */
	if (r == -EEXIST && !master) {
		err_clear(err);
		r = tty_open_number(m, ptmx, NULL, &fd, err);
	}
	if (r < 0)
		return r;
	/* Without a master entry the slave's holder is the master, until it hangs up. */
	(master ? master : slave)->fd = fd;
	if (ioctl(fd, TIOCSPTLCK, &unlock) < 0 || ioctl(fd, TIOCGPTN, &got) < 0)
		return err_sys(err, "cannot unlock pseudoterminal %u", index);
	if (slave) {
		snprintf(slave->path, sizeof(slave->path), "%.4000s/%u", dir, got);
		r = set_owner(m, slave, err);
	}
	if (r < 0 || !master)
		return r;
	if (slave) {
		slave->fd = tty_open_slave(fd);
		if (slave->fd < 0)
			return err_sysn(err, -slave->fd, "cannot open the slave of pseudoterminal %u",
				index);
	}
	tty_attr_set(fd, slave && slave->info->termios ? slave->info : master->info);
	return fill_pair(master, slave, err);
}

/* ---- descriptions ---- */

/* The master's only one. */
static int give_master(struct made *x, int *ret_fd, struct err *err)
{
	if (x->given)
		return err_image(err, "two files are the master of pseudoterminal %u",
			x->info->pty->index);
	x->given = true;
	*ret_fd = fcntl(x->fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? err_sys(err, "cannot duplicate a descriptor") : 0;
}

static int open_end(struct file_maker *m, struct made *x, int flags, int *ret_fd, struct err *err)
{
	int r = make_pair(m, x, err);

	if (r < 0)
		return r;
	if (x->info->id & 1)
		return give_master(x, ret_fd, err);
	*ret_fd = open(x->path, (flags & O_ACCMODE) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(err, "cannot open '%s'", x->path) : 0;
}

static int play_open(struct place *p, int flags, int *ret_fd, struct err *err)
{
	static const char path[] = "/dev/tty";
	struct tape *tape = tape_new();
	size_t call = tape_call(tape, "tty", TAPE_MUST, SYS_openat, T(AT_FDCWD),
		T_DATA(tape_data(tape, path, sizeof(path))),
		T((flags & O_ACCMODE) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
	int number, back, r = place_play(p, tape, err);

	if (r == 0) {
		number = (int)tape_result(tape, call);
		r = place_take(p, number, ret_fd, err);
		tape_reset(tape);
		tape_call(tape, "tty", 0, SYS_close, T(number));
		back = place_play(p, tape, r < 0 ? NULL : err);
		r = r < 0 ? r : back;
	}
	tape_free(tape);
	return r;
}

/* /dev/tty is whatever controls the session of the one who opens it. */
static int open_current(struct file_maker *m, const struct made *x, int flags, int *ret_fd,
	struct err *err)
{
	const struct task *t = leader_of(m, x);
	struct place p;
	int r;

	if (!t)
		return err_image(err, "session %u has no leader whose terminal could be opened",
			x->info->sid);
	r = place_open(m, t->pid, &p, err);
	if (r == 0)
		r = play_open(&p, flags, ret_fd, err);
	return r < 0 ? err_while(err, "opening the terminal of session %u", x->info->sid) : 0;
}

static int open_ours(struct file_maker *m, struct made *x, int flags, int *ret_fd, struct err *err)
{
	int r;

	if (!m->options->shell_job)
		return err_usage(err, "the tree stood on a terminal; restoring it needs --shell-job");
	r = tty_open_ours(x->info, flags, ret_fd, err);
	if (r == 0 && !x->given)
		tty_attr_set(*ret_fd, x->info);
	x->given = true;
	return r;
}

static int open_given(struct file_maker *m, const struct made *x, int *ret_fd, struct err *err)
{
	char key[64];
	int fd;

	snprintf(key, sizeof(key), "tty[%x:%x]", x->info->rdev, x->info->dev);
	fd = outside_inherited(m->options, key);
	if (fd < 0)
		return err_usage(err, "the terminal '%s' was external; restoring it needs "
			"--inherit-fd fd[N]:%s", key, key);
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? err_sys(err, "cannot use descriptor %d for '%s'", fd, key) : 0;
}

static int open_named(struct file_maker *m, struct made *x, const TtyFileEntry *e, int *ret_fd,
	struct err *err)
{
	int r = name_open_companion(m, e->regf_id, (int)(e->flags & O_ACCMODE) | O_NONBLOCK, ret_fd,
		err);

	if (r == 0 && !x->given)
		tty_attr_set(*ret_fd, x->info);
	x->given = true;
	return r;
}

static int open_by_origin(struct file_maker *m, struct made *x, const TtyFileEntry *e, int *ret_fd,
	struct err *err)
{
	switch (origin_of(m, x)) {
	case TTY_PAIR:
	case TTY_HUNG:
		return open_end(m, x, (int)e->flags, ret_fd, err);
	case TTY_CURRENT:
		return open_current(m, x, (int)e->flags, ret_fd, err);
	case TTY_OURS:
		return open_ours(m, x, (int)e->flags, ret_fd, err);
	case TTY_GIVEN:
		return open_given(m, x, ret_fd, err);
	case TTY_NAMED:
		break;
	}
	return open_named(m, x, e, ret_fd, err);
}

int tty_create(struct file_maker *m, const FileEntry *fe, int *ret_fd, struct err *err)
{
	struct made *x = find_made(m, fe->tty->tty_info_id);
	auto_close int fd = -1;
	int r;

	if (!x)
		return err_image(err, "tty-info.img does not describe terminal %u", fe->tty->tty_info_id);
	r = open_by_origin(m, x, fe->tty, &fd, err);
	if (r == 0)
		r = fown_restore(fd, fe->tty->fown, err);
	/* Not of a description that others have, too. */
	if (r == 0 && origin_of(m, x) != TTY_GIVEN)
		r = flags_restore(fd, fe->tty->flags, err);
	if (r == 0)
		*ret_fd = take_fd(&fd);
	return r;
}

/* ---- sessions ---- */

/* A call of the leader with a descriptor of the terminal. */
static int leader_ioctl(struct file_maker *m, const struct task *t, int fd, unsigned long request,
	const pid_t *arg, struct err *err)
{
	struct tape *tape = tape_new();
	struct tape_arg third = T(0);
	struct place p;
	int number, r = place_open(m, t->pid, &p, err);

	if (r == 0)
		r = place_send(&p, &fd, 1, &number, err);
	if (r == 0) {
		if (arg)
			third = T_DATA(tape_data(tape, arg, sizeof(*arg)));
		tape_call(tape, "tty", TAPE_MUST, SYS_ioctl, T(number), T(request), third);
		tape_call(tape, "tty", 0, SYS_close, T(number));
		r = place_play(&p, tape, err);
	}
	tape_free(tape);
	return r;
}

/* A descriptor of the terminal while it is not anybody's. */
static int hold_terminal(struct file_maker *m, struct made *x, struct err *err)
{
	int r;

	if (origin_of(m, x) == TTY_PAIR)
		return make_pair(m, x, err);
	if (x->fd >= 0)
		return 0;
	r = x->file ? open_named(m, x, x->file, &x->fd, err) : -ENOENT;
	return r < 0 && !err_is_set(err) ? err_image(err, "terminal %u has no name", x->info->id) : r;
}

int tty_lead(struct file_maker *m, const struct task *t, struct err *err)
{
	struct made *x = table_get(&m->made, table_key(BY_SESSION, (uint32_t)t->pid));
	int r;

	if (!x)
		return 0;
	r = hold_terminal(m, x, err);
	if (r == 0)
		r = leader_ioctl(m, t, x->fd, TIOCSCTTY, NULL, err);
	return r < 0 ? err_while(err, "giving session %d its controlling terminal", t->pid) : 0;
}

static bool group_is_inside(const struct world *w, uint32_t pgrp, uint32_t sid)
{
	world_each_task(t, w)
		if ((uint32_t)t->pgid == pgrp && (uint32_t)t->sid == sid)
			return true;
	return false;
}

static int set_foreground(struct file_maker *m, struct made *x, struct err *err)
{
	const struct task *leader = leader_of(m, x);
	pid_t pgrp = (pid_t)x->info->pgrp;

	if (x->ruled || !leader || !pgrp || !can_be_controlling(m, x) || x->fd < 0)
		return 0;
	x->ruled = true;
	/* A shell that has reaped its job and not taken the terminal back yet. */
	if (!group_is_inside(m->world, x->info->pgrp, x->info->sid))
		return 0;
	return leader_ioctl(m, leader, x->fd, TIOCSPGRP, &pgrp, err);
}

/* ---- at the end ---- */

/* Of a master the description is the one that a task has: its holder will do. */
static int lock_end(struct made *x, int fd, struct err *err)
{
	return fd < 0 || !x->info->termios ? 0 : tty_attr_lock(fd, x->info, err);
}

static int finish_pair(struct file_maker *m, struct made *x, struct err *err)
{
	struct made *slave = x->info->id & 1 ? x->peer : x;
	struct made *master = x->info->id & 1 ? x : x->peer;
	int r = 0;

	if (slave)
		r = set_foreground(m, slave, err);
	if (slave && r == 0)
		r = lock_end(slave, slave->fd, err);
	if (master && r == 0)
		r = lock_end(master, master->fd, err);
	return r;
}

static int join_one(struct file_maker *m, struct made *x, struct err *err)
{
	if (x->fd < 0)
		return 0;
	switch (origin_of(m, x)) {
	case TTY_PAIR:
		return finish_pair(m, x, err);
	case TTY_HUNG:
		close(take_fd(&x->fd)); /* the master */
		return 0;
	default:
		return set_foreground(m, x, err);
	}
}

int tty_join(struct file_maker *m, struct err *err)
{
	struct entry_list *infos = &m->world->entries[IMG_TTY_INFO];
	int r = 0;

	for (size_t i = 0; i < infos->n && r == 0; i++) {
		struct made *x = find_made(m, ((TtyInfoEntry *)infos->at[i]->msg)->id);

		r = join_one(m, x, err);
		if (r < 0)
			return err_while(err, "completing terminal %u", x->info->id);
	}
	tty_drop_spares(m);
	return r;
}

void tty_clean(struct file_maker *m)
{
	struct entry_list *infos = &m->world->entries[IMG_TTY_INFO];

	for (size_t i = 0; i < infos->n; i++) {
		struct made *x = find_made(m, ((TtyInfoEntry *)infos->at[i]->msg)->id);

		if (x && x->fd >= 0)
			close(take_fd(&x->fd));
		if (x)
			vec_done(&x->waiting);
	}
	tty_drop_spares(m);
}
