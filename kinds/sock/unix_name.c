/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of unix sockets. The name is what bind(2) was told; the file it made may have been removed
 * or renamed since, lie below another root, or be relative to a folder that nobody recorded.
 * SIOCUNIXFILE (4.15) gives the file itself; from where that is and what the name says follows the
 * folder. Where no folder makes the name lead to the file, the file's own path is kept as well
 * (torpor_unix_entry.path).
 */
#include "base/cleanup.h"
#include "base/far.h"
#include "kinds/sock/unix.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0) /* linux/un.h */
#endif

struct bound {
	struct stat st;
	char path[PATH_MAX]; /* as seen from our root */
};

/* 1: found, 0: the kernel does not tell. */
static int find_bound(const struct fd_look *l, struct bound *b, const char *who, struct err *err)
{
	auto_close int fd = ioctl(l->dup, SIOCUNIXFILE);
	char self[64];
	ssize_t n;

	if (fd < 0 && (errno == EPERM || errno == ENOTTY || errno == EINVAL || errno == EOPNOTSUPP))
		return 0;
	if (fd < 0)
		return err_sys(err, "%s: cannot find the file the unix socket is bound to", who);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, b->path, sizeof(b->path) - 1);
	if (n < 0 || far_fstat(fd, &b->st) < 0)
		return err_sys(err, "%s: cannot look at the file the unix socket is bound to", who);
	b->path[n] = '\0';
	return 1;
}

static bool leads_to(const char *path, const struct stat *st)
{
	struct stat is;

	return far_fstatat(AT_FDCWD, path, &is, 0) == 0 && is.st_dev == st->st_dev &&
		is.st_ino == st->st_ino;
}

/* The folder from which the relative name leads to the path, if the one ends with the other. */
static char *folder_by_text(struct arena *a, const char *path, const char *name)
{
	size_t len = strlen(path), cut = strlen(name);

	if (cut + 1 >= len || strcmp(path + len - cut, name) != 0 || path[len - cut - 1] != '/')
		return NULL;
	return arena_printf(a, "%.*s", (int)(len - cut - 1), path);
}

static char *folder_of_task(const struct fd_look *l, const char *name, const struct stat *st)
{
	char link[64], cwd[PATH_MAX], path[PATH_MAX + UNIX_NAME_MAX + 2];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/cwd", l->carrier ? l->task->real : l->tid);
	n = readlink(link, cwd, sizeof(cwd) - 1);
	if (n <= 0)
		return NULL;
	cwd[n] = '\0';
	snprintf(path, sizeof(path), "%s/%s", cwd, name);
	return leads_to(path, st) ? arena_strdup(l->world->arena, cwd) : NULL;
}

/* How to reach the file by its name; sets name_dir, or the extra's path if there is no way. */
static void place_name(const struct fd_look *l, const struct bound *b, const char *name,
	UnixSkEntry *e)
{
	struct arena *a = l->world->arena;
	const char *slash = strrchr(b->path, '/');

	if (name[0] == '/') {
		if (!leads_to(name, &b->st))
			unix_want_extra(l->world, e->id)->path = arena_strdup(a, b->path);
		return;
	}
	e->name_dir = folder_by_text(a, b->path, name);
	if (!e->name_dir)
		e->name_dir = folder_of_task(l, name, &b->st);
	if (e->name_dir)
		return;
	e->name_dir = slash > b->path ? arena_printf(a, "%.*s", (int)(slash - b->path), b->path) : "/";
	unix_want_extra(l->world, e->id)->path = arena_strdup(a, b->path);
}

static void set_perms(const struct fd_look *l, const struct stat *st, UnixSkEntry *e)
{
	FilePermsEntry *p = arena_msg(l->world->arena, FilePermsEntry, file_perms_entry);

	p->mode = st->st_mode;
	p->uid = st->st_uid;
	p->gid = st->st_gid;
	e->file_perms = p;
}

/* Without SIOCUNIXFILE: the name must lead to the file the list knows. */
static int find_by_name(const struct fd_look *l, const struct unix_seen *s, const char *name,
	struct bound *b, const char *who, struct err *err)
{
	char cwd[64];

	snprintf(cwd, sizeof(cwd), "/proc/%d/cwd/", l->carrier ? l->task->real : l->tid);
	snprintf(b->path, sizeof(b->path), "%s%s", name[0] == '/' ? "" : cwd, name);
	if (far_fstatat(AT_FDCWD, b->path, &b->st, 0) < 0 || (uint32_t)b->st.st_ino != s->d.vfs_ino)
		return err_unsupported(err, "%s is a unix socket bound to '%s', which does not lead to its "
			"file now; finding that needs CAP_NET_ADMIN", who, name);
	return 0;
}

int unix_name_collect(const struct fd_look *l, const struct unix_seen *s, UnixSkEntry *e,
	struct err *err)
{
	char name[UNIX_NAME_MAX + 1] = "", who[96];
	struct bound b;
	int found, r = 0;

	e->name.len = s->d.name_len;
	e->name.data = (uint8_t *)s->d.name;
	if (!s->d.name_len || !s->d.name[0])
		return 0;
	file_look_who(l, who, sizeof(who));
	memcpy(name, s->d.name, s->d.name_len < UNIX_NAME_MAX ? s->d.name_len : UNIX_NAME_MAX);
	found = find_bound(l, &b, who, err);
	if (found < 0)
		return found;
	if (!found)
		r = find_by_name(l, s, name, &b, who, err);
	if (r < 0)
		return r;
	set_perms(l, &b.st, e);
	if (!b.st.st_nlink) {
		e->has_deleted = e->deleted = true;
		return 0;
	}
	place_name(l, &b, name, e);
	return 0;
}
