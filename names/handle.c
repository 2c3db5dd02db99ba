/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See names/handle.h. */
#include "names/handle.h"
#include "base/cleanup.h"
#include "base/far.h"
#include "base/table.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* A file system that is mounted here. */
struct place {
	const struct mount_line *mount;
	int fd; /* on it, -1 until needed */
};

struct handle_space {
	struct arena *arena;
	struct mount_lines mounts;
	struct table by_dev; /* 1 + device -> struct place */
	struct table by_id; /* 1 + mount id -> struct mount_line */
};

static bool is_better(const struct mount_line *a, const struct mount_line *b)
{
	return !strcmp(a->root, "/") && strcmp(b->root, "/") != 0;
}

int handle_space_new(struct handle_space **ret, struct err *err)
{
	struct arena *a = arena_new();
	struct handle_space *s = arena_new_of(a, struct handle_space);
	int r;

	s->arena = a;
	r = mountinfo_read("self", a, &s->mounts, err);
	if (r < 0) {
		arena_free(a);
		return r;
	}
	for (size_t i = 0; i < s->mounts.n; i++) {
		const struct mount_line *m = &s->mounts.at[i];
		struct place *p = table_get(&s->by_dev, 1 + (uint64_t)m->dev);

		table_put(&s->by_id, 1 + (uint64_t)m->id, (void *)m);
		if (p && !is_better(m, p->mount))
			continue;
		p = arena_new_of(a, struct place);
		*p = (struct place){ .mount = m, .fd = -1 };
		table_put(&s->by_dev, 1 + (uint64_t)m->dev, p);
	}
	*ret = s;
	return 0;
}

void handle_space_free(struct handle_space *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->mounts.n; i++) {
		struct place *p = table_get(&s->by_dev, 1 + (uint64_t)s->mounts.at[i].dev);

		if (p->fd >= 0)
			close(take_fd(&p->fd));
	}
	table_done(&s->by_dev);
	table_done(&s->by_id);
	arena_free(s->arena);
}

const struct mount_line *handle_mount(const struct handle_space *s, int mnt_id)
{
	return table_get(&s->by_id, 1 + (uint64_t)mnt_id);
}

const struct mount_line *handle_next_mount(const struct handle_space *s, const struct mount_line *m)
{
	m = m ? m + 1 : s->mounts.at;
	return m < s->mounts.at + s->mounts.n ? m : NULL;
}

const struct mount_line *handle_mount_of_dev(const struct handle_space *s, uint32_t dev)
{
	const struct place *p = table_get(&s->by_dev, 1 + (uint64_t)dev);

	return p ? p->mount : NULL;
}

/* Not by O_PATH, which open_by_handle_at(2) does not take. */
static int place_open(struct place *p)
{
	struct stat st;
	auto_close int fd = open(p->mount->point, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -errno;
	/* Another mount may cover this one. */
	if (fstat(fd, &st) < 0 || (major(st.st_dev) << 20 | minor(st.st_dev)) != p->mount->dev)
		return -ENODEV;
	p->fd = take_fd(&fd);
	return 0;
}

int handle_open(struct handle_space *s, uint32_t dev, const FhEntry *fh)
{
	struct place *p = table_get(&s->by_dev, 1 + (uint64_t)dev);
	union {
		struct file_handle head;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} u = { 0 };
	int fd, r = 0;

	if (!p)
		return -ENODEV;
	if (!fh->bytes)
		return -EOPNOTSUPP;
	if (fh->bytes > MAX_HANDLE_SZ || fh->n_handle < (fh->bytes + 7) / 8)
		return -EINVAL;
	u.head.handle_bytes = fh->bytes;
	u.head.handle_type = (int)fh->type;
	memcpy(u.head.f_handle, fh->handle, fh->bytes);
	if (p->fd < 0)
		r = place_open(p);
	if (r < 0)
		return r;
	fd = open_by_handle_at(p->fd, &u.head, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int handle_path(int fd, char *buf)
{
	char self[64];
	struct stat a, b;
	ssize_t n;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	n = readlink(self, buf, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	if (buf[0] != '/' || far_fstat(fd, &a) < 0 ||
		far_fstatat(AT_FDCWD, buf, &b, AT_SYMLINK_NOFOLLOW) < 0 || a.st_dev != b.st_dev ||
		a.st_ino != b.st_ino)
		return -ENOENT;
	return 0;
}
