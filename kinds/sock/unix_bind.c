/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names for unix sockets. The kernel keeps the text bind(2) was told and the file it made; both
 * must come out as they were:
 *
 *   a plain name      bind there, in the folder a relative one belongs to; a dead socket's file is
 *                     replaced, one that is in use is an error
 *   a name that is    bind below a detached tmpfs which is the root meanwhile, then remove it: no
 *   gone              file system of anybody sees it
 *   a name that does  bind below a new folder beside the file's path, which is the root meanwhile,
 *   not lead there    then rename
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "kinds/sock/unix.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0) /* linux/un.h */
#endif

/* ---- addresses ---- */

static socklen_t sockaddr_of(const void *name, size_t len, struct sockaddr_un *sa)
{
	if (len > sizeof(sa->sun_path))
		len = sizeof(sa->sun_path);
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	if (len)
		memcpy(sa->sun_path, name, len);
	return (socklen_t)(sizeof(sa_family_t) + len);
}

size_t unix_sockaddr(const struct unix_address *a, int file, void *ret, size_t size)
{
	struct sockaddr_un sa;
	socklen_t len;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	len = a->file < 0 ? sockaddr_of(a->name, a->len, &sa) : sockaddr_of(path, strlen(path), &sa);
	memcpy(ret, &sa, len < size ? len : size);
	return len;
}

int unix_address_of(int fd, const UnixSkEntry *e, struct unix_address *ret, struct err *err)
{
	*ret = (struct unix_address){ .file = -1, .len = e->name.len };
	if (ret->len > sizeof(ret->name))
		ret->len = sizeof(ret->name);
	if (ret->len)
		memcpy(ret->name, e->name.data, ret->len);
	if (!ret->name[0])
		return 0;
	ret->file = ioctl(fd, SIOCUNIXFILE);
	if (ret->file < 0)
		return err_sys(err, "cannot find the file of a unix socket (SIOCUNIXFILE)");
	return 0;
}

void unix_address_done(struct unix_address *a)
{
	if (a->file >= 0)
		close(take_fd(&a->file));
}

int unix_connect(int fd, const struct unix_address *a, struct err *err)
{
	struct sockaddr_un sa;
	socklen_t len = (socklen_t)unix_sockaddr(a, a->file, &sa, sizeof(sa));

	if (connect(fd, (struct sockaddr *)&sa, len) < 0)
		return err_sys(err, "cannot connect to a unix socket");
	return 0;
}

/* ---- another root for a moment ---- */

struct stance {
	int root, cwd;
};

/* chroot(2) into dir; everything in this thread is seen from there until stand_back(). */
static int stand_in(struct stance *s, int dir, bool root, struct err *err)
{
	s->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	s->cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (s->root < 0 || s->cwd < 0 || fchdir(dir) < 0 || (root && chroot(".") < 0))
		return err_sys(err, "cannot step into a folder to bind a unix socket");
	return 0;
}

static int stand_back(struct stance *s, int done, struct err *err)
{
	bool back = s->root < 0 || (fchdir(s->root) == 0 && chroot(".") == 0);

	back = back && (s->cwd < 0 || fchdir(s->cwd) == 0);
	cleanup_close(&s->root);
	cleanup_close(&s->cwd);
	if (!back && done == 0)
		return err_sys(err, "cannot step back from a folder");
	return done;
}

/* ---- binding ---- */

static int plain_bind(int fd, const void *name, size_t len)
{
	struct sockaddr_un sa;
	socklen_t sa_len = sockaddr_of(name, len, &sa);

	return bind(fd, (struct sockaddr *)&sa, sa_len) < 0 ? -errno : 0;
}

/* mkdir(2) of every folder in front of the name's last part. */
static void make_parents(const char *name)
{
	char path[UNIX_NAME_MAX + 1];

	snprintf(path, sizeof(path), "%s", name);
	for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		(void)!mkdir(path, 0700);
		*at = '/';
	}
}

static void remove_parents(const char *name)
{
	char path[UNIX_NAME_MAX + 1];

	snprintf(path, sizeof(path), "%s", name);
	for (char *at = strrchr(path, '/'); at && at > path; at = strrchr(path, '/')) {
		*at = '\0';
		(void)!rmdir(path);
	}
}

/* A tmpfs which is mounted nowhere. */
static int open_hidden(void)
{
	auto_close int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
}

/* The name exists nowhere when this returns. */
static int bind_hidden(struct unix_plan *p, int fd, const char *name, size_t len, struct err *err)
{
	struct stance s = { -1, -1 };
	int r;

	if (p->hidden < 0)
		p->hidden = open_hidden();
	if (p->hidden < 0)
		return err_sys(err, "cannot make a hidden tmpfs for the name '%s'; CAP_SYS_ADMIN would "
			"allow it", name);
	r = stand_in(&s, p->hidden, true, err);
	if (r == 0) {
		make_parents(name);
		r = plain_bind(fd, name, len);
		if (r < 0)
			r = err_sysn(err, -r, "cannot bind a unix socket to '%s'", name);
		else
			(void)!unlink(name);
	}
	return stand_back(&s, r, err);
}

/* ---- files of sockets that are no more ---- */

enum { COLLECT_NAPS = 400 }; /* of 5 ms */

struct used_ctx {
	struct table *table;
	void *mark;
};

static int note_used(const void *payload, size_t len, void *ctx, struct err *err)
{
	struct used_ctx *c = ctx;
	struct diag_unix d;

	(void)err;
	if (diag_parse_unix(payload, len, &d) && d.has_vfs)
		table_put(c->table, table_key(d.vfs_dev, d.vfs_ino), c->mark);
	return 0;
}

/* Device number in the form of the list. */
static uint32_t kernel_dev(dev_t dev)
{
	return (uint32_t)(((dev >> 8) & 0xfff) << 20 | ((dev >> 12) & 0xfff00) | (dev & 0xff));
}

static int read_used(struct unix_plan *p, struct err *err)
{
	auto_close int diag = -1;
	struct used_ctx c = { .mark = p };
	int r;

	if (p->used)
		return 0;
	p->used = calloc(1, sizeof(*p->used));
	if (!p->used)
		return err_nomem(err);
	c.table = p->used;
	r = sock_diag_open(-1, &diag, err);
	return r < 0 ? r : sock_diag_unix(diag, note_used, &c, err);
}

static void forget_used(struct unix_plan *p)
{
	if (p->used)
		table_done(p->used);
	free(p->used);
	p->used = NULL;
}

/*
 * 1 if some socket is bound to the file, 0 if not, or an error. Sockets that were in flight when
 * their tasks ended are collected later, by a worker of the kernel (net/unix/garbage.c): those get
 * a moment, once for all.
 */
static int is_in_use(struct unix_plan *p, const struct stat *st, struct err *err)
{
	const uint64_t key = table_key(kernel_dev(st->st_dev), (uint32_t)st->st_ino);

	for (;;) {
		int r = read_used(p, err);

		if (r < 0)
			return r;
		if (!table_get(p->used, key))
			return 0;
		if (p->naps == COLLECT_NAPS)
			return 1;
		p->naps++;
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		forget_used(p);
	}
}

/* Removes the file of a socket that nobody has any more; *old tells what it was. */
static int remove_stale(struct unix_plan *p, const char *name, struct stat *old, struct err *err)
{
	struct stat st;
	int r;

	if (lstat(name, &st) < 0)
		return errno == ENOENT ? 0 : err_sys(err, "cannot look at '%s'", name);
	if (!S_ISSOCK(st.st_mode))
		return err_target(err, EADDRINUSE, "a unix socket was bound to '%s', which is no socket now",
			name);
	r = is_in_use(p, &st, err);
	if (r < 0)
		return r;
	if (r)
		return err_target(err, EADDRINUSE, "the unix socket '%s' is in use by another process", name);
	if (unlink(name) < 0)
		return err_sys(err, "cannot replace the old unix socket '%s'", name);
	*old = st;
	return 0;
}

static void note_bound(struct unix_plan *p, const char *path, const struct stat *old)
{
	struct unix_bound *b = arena_new_of(p->m->arena, struct unix_bound);

	b->old = *old;
	b->path = arena_strdup(p->m->arena, path);
	b->next = p->bound;
	p->bound = b;
}

static int move_out(struct unix_plan *p, const char *folder, const char *name, const char *path,
	struct err *err)
{
	char from[PATH_MAX + UNIX_NAME_MAX + 2];
	struct stat old = { 0 };
	int r;

	snprintf(from, sizeof(from), "%s/%s", folder, name);
	r = remove_stale(p, path, &old, err);
	if (r < 0)
		return r;
	if (rename(from, path) < 0)
		return err_sys(err, "cannot move a unix socket to '%s'", path);
	note_bound(p, path, &old);
	return 0;
}

static int bind_and_move(struct unix_plan *p, int fd, const char *name, size_t len,
	const char *path, struct err *err)
{
	auto_free char *folder = NULL;
	auto_close int dir = -1;
	struct stance s = { -1, -1 };
	const char *slash = strrchr(path, '/');
	int r;

	if (asprintf(&folder, "%.*s/.torpor-XXXXXX", (int)(slash - path), path) < 0)
		return err_nomem(err);
	if (!mkdtemp(folder))
		return err_sys(err, "cannot make a folder beside '%s'", path);
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = dir < 0 ? err_sys(err, "cannot open '%s'", folder) : stand_in(&s, dir, true, err);
	if (r == 0) {
		make_parents(name);
		r = plain_bind(fd, name, len);
		if (r < 0)
			r = err_sysn(err, -r, "cannot bind a unix socket to '%s'", name);
	}
	r = stand_back(&s, r, err);
	if (r == 0)
		r = move_out(p, folder, name, path, err);
	if (dir >= 0 && stand_in(&s, dir, true, NULL) == 0)
		remove_parents(name);
	stand_back(&s, 0, NULL);
	(void)!rmdir(folder);
	return r;
}

static int bind_here(struct unix_plan *p, int fd, const char *name, size_t len, struct err *err)
{
	char path[PATH_MAX + UNIX_NAME_MAX + 2] = "";
	struct stat old = { 0 };
	int r = plain_bind(fd, name, len);

	if (r == -EADDRINUSE) {
		r = remove_stale(p, name, &old, err);
		if (r < 0)
			return r;
		r = plain_bind(fd, name, len);
	}
	if (r < 0)
		return err_sysn(err, -r, "cannot bind a unix socket to '%s'", name);
	if (name[0] != '/' && getcwd(path, PATH_MAX))
		strcat(path, "/");
	strncat(path, name, UNIX_NAME_MAX);
	note_bound(p, path, &old);
	return 0;
}

static int bind_in(struct unix_plan *p, int fd, const char *name, size_t len, const char *folder,
	struct err *err)
{
	struct stance s = { -1, -1 };
	auto_close int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (dir < 0)
		return err_sys(err, "cannot open the folder '%s' of the unix socket '%s'", folder, name);
	r = stand_in(&s, dir, false, err);
	if (r == 0)
		r = bind_here(p, fd, name, len, err);
	/* Only the folder was left. */
	cleanup_close(&s.root);
	s.root = -1;
	return stand_back(&s, r, err);
}

static int set_perms(int fd, const FilePermsEntry *perms, const char *name, struct err *err)
{
	auto_close int file = ioctl(fd, SIOCUNIXFILE);
	char self[64];

	if (file < 0)
		return err_sys(err, "cannot find the file of a unix socket (SIOCUNIXFILE)");
	snprintf(self, sizeof(self), "/proc/self/fd/%d", file);
	if (fchownat(file, "", perms->uid, perms->gid, AT_EMPTY_PATH) < 0 ||
		chmod(self, perms->mode & 07777) < 0)
		return err_sys(err, "cannot set owner and mode of the unix socket '%s'", name);
	return 0;
}

int unix_bind(struct unix_plan *p, int fd, const UnixSkEntry *e, const TorporUnixEntry *x,
	struct err *err)
{
	char name[UNIX_NAME_MAX + 2] = "";
	size_t len = e->name.len;
	int r;

	if (!len)
		return 0;
	if (!e->name.data[0]) {
		r = plain_bind(fd, e->name.data, len);
		return r < 0 ? err_sysn(err, -r, "cannot bind a unix socket to the abstract name '@%.*s'",
			(int)(len - 1), (const char *)e->name.data + 1) : 0;
	}
	memcpy(name, e->name.data, len < UNIX_NAME_MAX ? len : UNIX_NAME_MAX);
	len = strlen(name);
	if (x && x->path)
		r = bind_and_move(p, fd, name, len, x->path, err);
	else if (e->has_deleted && e->deleted)
		r = bind_hidden(p, fd, name, len, err);
	else if (name[0] != '/')
		r = bind_in(p, fd, name, len, e->name_dir ? e->name_dir : "/", err);
	else
		r = bind_here(p, fd, name, len, err);
	if (r == 0 && e->file_perms)
		r = set_perms(fd, e->file_perms, name, err);
	return r;
}

int unix_bind_sender(struct unix_plan *p, int fd, const void *name, size_t len, struct err *err)
{
	char text[UNIX_NAME_MAX + 2] = "";
	int r;

	if (!len)
		return 0;
	memcpy(text, name, len < UNIX_NAME_MAX ? len : UNIX_NAME_MAX);
	if (text[0])
		return bind_hidden(p, fd, text, strlen(text), err);
	r = plain_bind(fd, name, len);
	if (r == -EADDRINUSE) {
		log_warn("'@%.*s', a unix socket that is gone, is somebody else's name now: what came from "
			"it will be nameless", (int)(len - 1), (const char *)name + 1);
		return 0;
	}
	return r < 0 ? err_sysn(err, -r, "cannot bind a unix socket to the abstract name '@%.*s'",
		(int)(len - 1), (const char *)name + 1) : 0;
}

/* As it was before the restore: nothing, or the file of a dead socket. */
static void unbind(const struct unix_bound *b)
{
	if (unlink(b->path) < 0 && errno != ENOENT)
		log_warn("the unix socket '%s' cannot be removed and stays", b->path);
	else if (b->old.st_nlink && (mknod(b->path, b->old.st_mode, 0) < 0 ||
			chown(b->path, b->old.st_uid, b->old.st_gid) < 0 ||
			chmod(b->path, b->old.st_mode & 07777) < 0))
		log_warn("the dead unix socket '%s' cannot be put back", b->path);
}

void unix_unbind_all(struct unix_plan *p)
{
	for (const struct unix_bound *b = p->m->complete ? NULL : p->bound; b; b = b->next)
		unbind(b);
	for (struct unix_door *d = p->doors; d; d = d->next)
		if (d->fd >= 0)
			close(take_fd(&d->fd));
	if (p->hidden >= 0)
		close(take_fd(&p->hidden));
	forget_used(p);
}
