/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Dump of terminals (kinds/file/tty.h): what each end tells of itself when it is met; after all
 * tables it is clear who has the other end, whose controlling terminal it is, and what waits in it.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "kernel/proc_stat.h"
#include "kernel/tty.h"
#include "kinds/file/family.h"
#include "kinds/file/tty.h"
#include "options/outside.h"
#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* Numbers of terminals that are no pseudoterminals, as images have them. */
enum { ID_CONSOLE = 1002, ID_VT = 1004, ID_CTTY = 1006, ID_SERIAL = 1010, ID_STEP = 0x10000 };
enum { SEEN_ENDS = 720, SEEN_IDS = 721 };

/* One end that was met, and one description of it. */
struct end {
	struct end *next;
	TtyInfoEntry *info;
	struct end *peer;
	dev_t device; /* what it is: number of the slave, virtual terminal ... */
	pid_t tid;
	int fd;
	const char *who, *link;
};

/* ---- one descriptor ---- */

static TtyType type_of(dev_t rdev)
{
	unsigned maj = major(rdev), min = minor(rdev);

	if ((maj == TTY_PTMX_MAJOR && min == TTY_PTMX_MINOR) ||
		(maj >= TTY_PTS_MAJOR && maj < TTY_PTS_MAJOR + TTY_PTS_MAJORS))
		return TTY_TYPE__PTY;
	if (maj == TTY_PTMX_MAJOR)
		return min == 0 ? TTY_TYPE__CTTY : TTY_TYPE__CONSOLE;
	return maj == 4 && min < 64 ? TTY_TYPE__VT : TTY_TYPE__SERIAL;
}

static uint32_t number_of(TtyType type, dev_t device)
{
	switch (type) {
	case TTY_TYPE__PTY:
		return (major(device) - TTY_PTS_MAJOR) * 256 + minor(device);
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

/*
 * Opening a ptmx node makes a pair in the devpts it lies in, or in the one mounted at "pts" beside
 * it (fs/devpts/inode.c, devpts_mntget()).
 */
static dev_t instance_of_master(const struct fd_look *l)
{
	char path[PATH_MAX];
	struct stat st;
	char *slash;

	if (l->fs_type == DEVPTS_SUPER_MAGIC)
		return l->st.st_dev;
	snprintf(path, sizeof(path), "%s", l->link);
	slash = strrchr(path, '/');
	if (!slash || slash + 1 + sizeof("pts") > path + sizeof(path))
		return 0;
	strcpy(slash + 1, "pts");
	return stat(path, &st) == 0 ? st.st_dev : 0;
}

/* Which terminal it is (the slave's number for a master) and in which devpts. */
static int identify(const struct fd_look *l, bool *ret_master, dev_t *ret_device, dev_t *ret_instance)
{
	dev_t rdev = l->st.st_rdev;
	unsigned n;

	*ret_master = rdev == makedev(TTY_PTMX_MAJOR, TTY_PTMX_MINOR);
	*ret_device = rdev;
	*ret_instance = type_of(rdev) == TTY_TYPE__PTY ? l->st.st_dev : 0;
	if (*ret_master) {
		if (ioctl(l->dup, TIOCGPTN, &n) < 0)
			return -errno;
		*ret_device = makedev(TTY_PTS_MAJOR, n);
		*ret_instance = instance_of_master(l);
	} else if (type_of(rdev) == TTY_TYPE__CTTY) {
		if (ioctl(l->dup, TIOCGDEV, &n) < 0)
			return -errno;
		*ret_device = n;
	}
	return 0;
}

/*
 * The number in the images, times two: unique, though several terminals may have the same one (in
 * several devpts, or several sessions' /dev/tty).
 */
static uint32_t id_of(const struct fd_look *l, TtyType type, dev_t device, dev_t instance)
{
	uint64_t key = table_key(table_key(table_key(SEEN_IDS, type), device), instance);
	uint32_t *known = table_get(l->seen, key), id = number_of(type, device) << 1;

	if (known)
		return *known;
	while (table_get(l->seen, table_key(SEEN_IDS, id)))
		id += ID_STEP << 1;
	known = arena_new_of(l->world->arena, uint32_t);
	*known = id;
	table_put(l->seen, key, known);
	table_put(l->seen, table_key(SEEN_IDS, id), known);
	return id;
}

static struct end *first_end(const struct table *seen)
{
	return table_get(seen, table_key(SEEN_ENDS, 0));
}

static struct end *find_end(const struct table *seen, uint32_t id)
{
	return table_get(seen, table_key(SEEN_ENDS, 1 + (uint64_t)id));
}

static int refuse_discipline(const struct fd_look *l, struct err *err)
{
	char who[96];
	int n = 0;

	if (ioctl(l->dup, TIOCGETD, &n) < 0 || n == 0)
		return 0;
	return err_unsupported(err, "%s is the terminal '%s' with line discipline %d, which cannot be "
		"saved", file_look_who(l, who, sizeof(who)), l->link, n);
}

static int add_end(const struct fd_look *l, uint32_t id, dev_t device, struct end **ret, struct err *err)
{
	struct arena *arena = l->world->arena;
	TtyInfoEntry *e = arena_msg(arena, TtyInfoEntry, tty_info_entry);
	struct end *end = arena_new_of(arena, struct end);
	char who[96];
	pid_t pid;

	e->id = id;
	e->type = type_of(l->st.st_rdev);
	e->rdev = (uint32_t)l->st.st_rdev;
	e->has_dev = e->has_uid = e->has_gid = true;
	e->dev = (uint32_t)l->st.st_dev;
	e->uid = l->st.st_uid;
	e->gid = l->st.st_gid;
	tty_attr_collect(arena, l->dup, e);
	/* A master tells of its slave's session to anyone. */
	if (id & 1 && ioctl(l->dup, TIOCGSID, &pid) == 0 && pid > 0) {
		e->sid = (uint32_t)pid;
		e->pgrp = ioctl(l->dup, TIOCGPGRP, &pid) == 0 && pid > 0 ? (uint32_t)pid : 0;
	}
	if (e->type == TTY_TYPE__PTY) {
		e->pty = arena_msg(arena, TtyPtyEntry, tty_pty_entry);
		e->pty->index = number_of(TTY_TYPE__PTY, device);
	}
	*end = (struct end){ .next = first_end(l->seen), .info = e, .device = device, .tid = l->tid, .fd = l->fd,
		.who = arena_strdup(arena, file_look_who(l, who, sizeof(who))),
		.link = arena_strdup(arena, l->link) };
	table_put(l->seen, table_key(SEEN_ENDS, 0), end);
	table_put(l->seen, table_key(SEEN_ENDS, 1 + (uint64_t)id), end);
	world_add(l->world, IMG_TTY_INFO, 0, e);
	*ret = end;
	return refuse_discipline(l, err);
}

/* A REG entry of its path; the node of a slave whose master is gone has none, and no ghost helps. */
static int add_name(const struct fd_look *l, uint32_t flags, uint32_t *ret_id, struct err *err)
{
	static const char suffix[] = " (deleted)";
	size_t len = strlen(l->link), cut = sizeof(suffix) - 1;
	FileEntry *fe = arena_msg(l->world->arena, FileEntry, file_entry);
	RegFileEntry *reg = arena_msg(l->world->arena, RegFileEntry, reg_file_entry);

	fe->type = FD_TYPES__REG;
	fe->id = reg->id = (*l->next_id)++;
	fe->reg = reg;
	reg->flags = flags;
	reg->fown = arena_msg(l->world->arena, FownEntry, fown_entry);
	reg->name = arena_strdup(l->world->arena, l->link);
	if (len > cut && !strcmp(l->link + len - cut, suffix))
		reg->name[len - cut] = '\0';
	reg->has_mode = true;
	reg->mode = l->st.st_mode;
	*ret_id = fe->id;
	return world_add_file(l->world, fe, err);
}

int tty_collect(const struct fd_look *l, FileEntry *fe, struct err *err)
{
	TtyFileEntry *e = arena_msg(l->world->arena, TtyFileEntry, tty_file_entry);
	dev_t device, instance;
	struct end *end;
	bool master;
	char who[96];
	int r = identify(l, &master, &device, &instance);

	if (r < 0)
		return err_sysn(err, -r, "%s: cannot find out which terminal '%s' is",
			file_look_who(l, who, sizeof(who)), l->link);
	e->id = fe->id;
	e->tty_info_id = id_of(l, type_of(l->st.st_rdev), device, instance) | master;
	e->flags = flags_collect(l);
	e->fown = fown_collect(l);
	e->has_regf_id = true;
	fe->tty = e;
	end = find_end(l->seen, e->tty_info_id);
	if (!end)
		r = add_end(l, e->tty_info_id, device, &end, err);
	return r < 0 ? r : add_name(l, e->flags, &e->regf_id, err);
}

/* ---- after all tables ---- */

/* Session and foreground group of a controlling terminal, as some task of the session says. */
struct reign {
	struct reign *next;
	uint32_t sid, pgrp;
	dev_t device;
	bool described;
};

/* By terminal and session, and by terminal (its number may stand for several, in several devpts). */
struct reigns {
	struct reign *first;
	struct table by_key;
};

static void add_reign(struct world *w, struct reigns *all, const struct task *t,
	const struct proc_stat *ps)
{
	uint64_t key = table_key((uint32_t)ps->tty_nr, (uint32_t)t->sid);
	struct reign *x;

	if (!ps->tty_nr || table_get(&all->by_key, key))
		return;
	x = arena_new_of(w->arena, struct reign);
	*x = (struct reign){ .next = all->first, .sid = (uint32_t)t->sid,
		.device = (dev_t)(uint32_t)ps->tty_nr,
		.pgrp = ps->tpgid > 0 ? (uint32_t)ps->tpgid : 0 };
	all->first = x;
	table_put(&all->by_key, key, x);
	table_put(&all->by_key, table_key((uint32_t)ps->tty_nr, 0), x);
}

static void read_reigns(struct world *w, struct reigns *ret)
{
	world_each_task(t, w) {
		auto_free char *text = NULL;
		struct proc_stat ps;

		if (task_is_alive(t) &&
			io_slurpf(&text, NULL, "/proc/%d/stat", task_live_thread(t)->real) == 0 &&
			proc_stat_parse(text, &ps, NULL) == 0)
			add_reign(w, ret, t, &ps);
	}
}

/* A master knows its slave's session; else the tasks do. */
static void rule(struct end *e, const struct reigns *reigns)
{
	const TtyInfoEntry *master = e->peer && e->peer->info->id & 1 ? e->peer->info : NULL;
	TtyInfoEntry *info = e->info;
	struct reign *x;

	if (master) {
		info->sid = master->sid;
		info->pgrp = master->pgrp;
	}
	x = table_get(&reigns->by_key, table_key((uint32_t)e->device, info->sid));
	if (!x || (!info->sid && (master || info->id & 1)))
		return;
	x->described = true;
	info->sid = x->sid;
	info->pgrp = x->pgrp;
}

static int admit(const struct settle *s, struct end *e, struct err *err)
{
	enum tty_origin o = tty_origin_of(s->world, e->info, e->peer ? e->peer->info : NULL);
	char key[64];

	if (o != TTY_OURS)
		return 0;
	snprintf(key, sizeof(key), "tty[%x:%x]", e->info->rdev, e->info->dev);
	if (outside_is_external(s->options, key)) {
		e->info->type = TTY_TYPE__EXT_TTY;
		return 0;
	}
	if (s->options->shell_job)
		return 0;
	return err_unsupported(err, "%s is the terminal '%s' of a shell outside of the tree; saving it "
		"needs --shell-job (at the dump and at the restore)", e->who, e->link);
}

/* ---- what waits ---- */

/* Masters of the tree, whose number in the list is that of the pair. */
struct masters vec_of(const struct end *);

static int take(const struct end *e)
{
	auto_close int pidfd = -1;
	int fd;

	if (e->fd < 0)
		return -EBADF;
	pidfd = (int)syscall(SYS_pidfd_open, e->tid, 0);
	if (pidfd < 0)
		pidfd = (int)syscall(SYS_pidfd_open, e->tid, O_EXCL);
	fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, e->fd, 0);
	return fd < 0 ? -errno : fd;
}

static int open_ends(void *ctx, size_t nth, struct tty_ends *ret)
{
	const struct end *master = ((const struct masters *)ctx)->at[nth];

	ret->master = take(master);
	if (ret->master < 0)
		return ret->master;
	ret->slave = master->peer ? take(master->peer) : -EBADF;
	return ret->slave < 0 && ret->slave != -EBADF ? ret->slave : 0;
}

static void add_data(const struct settle *s, uint32_t id, const struct tty_parts *p)
{
	vec_each(part, p) {
		TtyDataEntry *d = arena_msg(s->world->arena, TtyDataEntry, tty_data_entry);

		d->tty_id = id;
		d->data.len = part->n;
		d->data.data = arena_memdup(s->world->arena, part->bytes, part->n);
		world_add(s->world, IMG_TTY_DATA, 0, d);
	}
}

/* A slave that was open and is closed everywhere now is described, without settings. */
static void note_closed(const struct settle *s, const struct end *master)
{
	TtyInfoEntry *e = arena_msg(s->world->arena, TtyInfoEntry, tty_info_entry);

	e->id = master->info->id & ~1u;
	e->type = TTY_TYPE__PTY;
	e->rdev = (uint32_t)master->device;
	e->pty = master->info->pty;
	world_add(s->world, IMG_TTY_INFO, 0, e);
}

static int save_waiting(const struct settle *s, const struct end *master, struct tty_looker *l,
	struct err *err)
{
	struct tty_waiting w;
	int r = tty_look_next(l, &w);

	if (r < 0)
		r = err_sysn(err, -r, "%s: cannot look at what was not read from a pseudoterminal",
			master->who);
	if (r == 0) {
		add_data(s, master->info->id, &w.master);
		if (master->peer)
			add_data(s, master->peer->info->id, &w.slave);
		if (w.closed)
			note_closed(s, master);
	}
	tty_waiting_done(&w);
	return r;
}

static int save_each(const struct settle *s, const struct masters *masters, struct tty_looker *l,
	struct err *err)
{
	int r = 0;

	for (size_t i = 0; i < masters->n && r == 0; i++)
		r = save_waiting(s, masters->at[i], l, err);
	tty_look_end(l);
	return r;
}

static int save_all_waiting(const struct settle *s, struct end *first, struct err *err)
{
	struct masters masters = { 0 };
	struct tty_looker l;
	int r = 0;

	for (struct end *e = first; e; e = e->next)
		if (e->info->id & 1)
			vec_push(&masters, e);
	if (masters.n) {
		r = tty_look_begin(&l, masters.n, open_ends, &masters);
		if (r < 0)
			r = err_sysn(err, -r, "cannot start a process that looks at terminals");
		else
			r = save_each(s, &masters, &l, err);
	}
	vec_done(&masters);
	return r;
}

static void warn_lost(const struct settle *s, const struct reigns *reigns)
{
	for (const struct reign *x = reigns->first; x; x = x->next)
		if (!x->described && world_task(s->world, (pid_t)x->sid))
			log_warn("session %u has a controlling terminal (%u:%u) which no task has open; a "
				"restore leaves it without one", x->sid, major(x->device),
				minor(x->device));
}

static int settle_ends(const struct settle *s, struct end *first, const struct reigns *reigns,
	struct err *err)
{
	int r = 0;

	for (struct end *e = first; e; e = e->next)
		if (e->info->type == TTY_TYPE__PTY)
			e->peer = find_end(s->seen, e->info->id ^ 1);
	for (struct end *e = first; e && r == 0; e = e->next) {
		rule(e, reigns);
		r = admit(s, e, err);
	}
	return r < 0 ? r : save_all_waiting(s, first, err);
}

int tty_settle(const struct settle *s, struct err *err)
{
	struct reigns reigns = { 0 };
	int r;

	read_reigns(s->world, &reigns);
	r = settle_ends(s, first_end(s->seen), &reigns, err);
	if (r == 0)
		warn_lost(s, &reigns);
	table_done(&reigns.by_key);
	return r;
}
