/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See kinds/collect.h.
 *
 * Descriptors fall into groups by what is cheap to see: device, inode, flags and offset, which are
 * the same wherever the open file description is. Within a group a search tree in kcmp's order
 * finds out whether the description is known. Only new ones are duplicated and looked at closer.
 */
#include "kinds/collect.h"
#include "base/cleanup.h"
#include "base/far.h"
#include "base/io.h"
#include "base/parse.h"
#include "kernel/fdinfo.h"
#include "kernel/kcmp.h"
#include "kinds/lock/locks.h"
#include "kinds/sock/guard.h"
#include "names/handle.h"
#include "names/linkremap.h"
#include "kinds/sock/tcp.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* 6.9 */
#endif

/* One known open file description: where it was seen first. */
struct known {
	struct known *less, *more;
	pid_t tid;
	int fd;
	FileEntry *entry;
};

struct group {
	struct group *next; /* another one with the same key */
	struct group *same_inode; /* another one with the same key of device and inode */
	uint64_t dev, ino, pos;
	uint32_t flags;
	struct known *root;
};

struct named {
	struct named *next;
	uint64_t dev, ino;
	int flags;
	char *link;
	uint32_t id;
};

/* A description whose queue is looked at when all tables are known. */
struct late {
	FileEntry *entry;
	const struct file_kind *kind;
	const struct task *task;
	pid_t tid;
	int fd; /* in that task's table */
	const struct fd_look *carrier; /* in the arena */
};

struct late_list vec_of(struct late);
struct own_list vec_of(int);

struct file_collector {
	struct world *world;
	struct image_set *images;
	const struct options *options;
	struct arena *arena;
	uint32_t next_id;
	struct table groups, inodes, named, seen, ghosts;
	struct shared_list shared;
	struct made_links links;
	struct handle_space *handles;
	struct late_list late;
	struct own_list own; /* descriptors found in queues only: kept to compare with */
	int own_pidfd, own_fds, own_infos; /* as in struct table_look, of ourselves; -1 not opened */
	struct rlimit old_limit; /* of descriptors; zeros until it was raised */
	struct connection_list connections;
};

/* A task whose table is being read. */
struct table_look {
	struct file_collector *c;
	struct task *task;
	pid_t tid;
	int fds, infos; /* /proc/TID/fd and /proc/TID/fdinfo */
	int pidfd;
	const struct fd_look *carrier; /* NULL, or the queue it lies in; then the table is ours */
};

/*
 * Every memory object, and every description that is found in queues only, is kept open until the
 * end. The hard limit is what the administrator means; the soft one is for select(2).
 */
static void raise_limit(struct file_collector *c)
{
	struct rlimit most;

	if (getrlimit(RLIMIT_NOFILE, &c->old_limit) < 0)
		return;
	most = c->old_limit;
	most.rlim_cur = most.rlim_max;
	(void)!setrlimit(RLIMIT_NOFILE, &most);
}

struct file_collector *file_collector_new(struct world *w, struct image_set *images,
	const struct options *o)
{
	struct file_collector *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	*c = (struct file_collector){ .world = w, .images = images, .options = o,
		.arena = arena_new(), .next_id = 1, .own_pidfd = -1, .own_fds = -1, .own_infos = -1 };
	raise_limit(c);
	return c;
}

void file_collector_free(struct file_collector *c)
{
	if (!c)
		return;
	sock_guard_end(&c->seen);
	vec_each(s, &c->shared)
		far_close(s->fd);
	vec_done(&c->shared);
	vec_done(&c->links);
	vec_done(&c->late);
	vec_each(fd, &c->own)
		far_close(*fd);
	vec_done(&c->own);
	if (c->old_limit.rlim_max)
		(void)!setrlimit(RLIMIT_NOFILE, &c->old_limit);
	cleanup_close(&c->own_pidfd);
	cleanup_close(&c->own_fds);
	cleanup_close(&c->own_infos);
	vec_done(&c->connections);
	table_done(&c->groups);
	table_done(&c->inodes);
	table_done(&c->named);
	table_done(&c->seen);
	table_done(&c->ghosts);
	handle_space_free(c->handles);
	arena_free(c->arena);
	free(c);
}

const struct shared_list *file_collected_shared(const struct file_collector *c)
{
	return &c->shared;
}

struct shared_list *file_collector_shared(struct file_collector *c)
{
	return &c->shared;
}

struct table *file_collector_seen(struct file_collector *c)
{
	return &c->seen;
}

struct arena *file_collector_arena(struct file_collector *c)
{
	return c->arena;
}

const struct connection_list *file_collected_connections(const struct file_collector *c)
{
	return &c->connections;
}

static int take_pidfd(pid_t tid, int *ret, struct err *err)
{
	int fd = (int)syscall(SYS_pidfd_open, tid, 0);

	/* A thread which is no leader (its leader is dead). */
	if (fd < 0 && (errno == EINVAL || errno == ENOENT))
		fd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
	if (fd < 0)
		return err_sys(err, "cannot get hold of task %d (pidfd_open)", tid);
	*ret = fd;
	return 0;
}

static struct group *group_of(struct file_collector *c, const struct stat *st,
	const struct fdinfo *info)
{
	uint32_t flags = info->flags & ~(uint32_t)O_CLOEXEC;
	uint64_t inode = table_key(st->st_dev, st->st_ino);
	uint64_t key = table_key(table_key(inode, flags), info->pos);
	struct group *first = table_get(&c->groups, key), *g;

	for (g = first; g; g = g->next)
		if (g->dev == st->st_dev && g->ino == st->st_ino && g->flags == flags &&
			g->pos == info->pos)
			return g;
	g = arena_new_of(c->arena, struct group);
	*g = (struct group){ .next = first, .dev = st->st_dev, .ino = st->st_ino, .flags = flags,
		.pos = info->pos, .same_inode = table_get(&c->inodes, inode) };
	table_put(&c->groups, key, g);
	table_put(&c->inodes, inode, g);
	return g;
}

/* Place in the tree where the description is (not NULL) or belongs (NULL). */
static int find_known(struct group *g, pid_t tid, int fd, struct known ***ret, struct err *err)
{
	struct known **at = &g->root;

	while (*at) {
		int r = kcmp_objects(tid, (*at)->tid, KCMP_FILE, (unsigned long)fd,
			(unsigned long)(*at)->fd);

		if (r == 0)
			break;
		if (r < 0)
			return err_sysn(err, -r, "cannot compare descriptors of tasks %d and %d (kcmp)",
				tid, (*at)->tid);
		if (r > 2)
			return err_set(err, ERR_KERNEL, 71, "kcmp gives no order of descriptors");
		at = r == 1 ? &(*at)->less : &(*at)->more;
	}
	*ret = at;
	return 0;
}

/* Asks the rooms in order; fills and adds the entry. */
static int ask_rooms(struct file_collector *c, struct fd_look *l, FileEntry **ret, struct err *err)
{
	FileEntry *fe = arena_msg(c->world->arena, FileEntry, file_entry);
	const struct file_kind *kind = NULL;
	int r;

	l->world = c->world;
	l->images = c->images;
	l->options = c->options;
	l->next_id = &c->next_id;
	l->seen = &c->seen;
	l->ghosts = &c->ghosts;
	l->links = &c->links;
	l->shared = &c->shared;
	l->handles = &c->handles;
	l->collector = c;
	l->connections = &c->connections;
	for (size_t i = 0; file_kinds[i] && !kind; i++)
		if (file_kinds[i]->match(l))
			kind = file_kinds[i];
	if (!kind)
		return file_kind_refuse(l, err);
	fe->type = kind->type;
	fe->id = c->next_id++;
	r = kind->collect(l, fe, err);
	if (r == 0 && kind->bulk && l->fd >= 0)
		r = kind->bulk(l, fe, err);
	if (r == 0)
		r = world_add_file(c->world, fe, err);
	if (r < 0)
		return r;
	if (kind->peek && l->fd >= 0) {
		struct late late = { fe, kind, l->task, l->tid, l->fd, NULL };

		if (l->carrier)
			late.carrier = arena_memdup(c->arena, l->carrier, sizeof(*l->carrier));
		vec_push(&c->late, late);
	}
	*ret = fe;
	return 0;
}

static int read_link(int dirfd, const char *name, char buf[PATH_MAX])
{
	ssize_t n = readlinkat(dirfd, name, buf, PATH_MAX - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

/* A description nobody has seen before. */
static int collect_new(struct table_look *t, const char *name, int fd, const struct fdinfo *info,
	const char *text, FileEntry **ret, struct err *err)
{
	char link[PATH_MAX];
	auto_far int dup = (int)syscall(SYS_pidfd_getfd, t->pidfd, fd, 0);
	struct fd_look l = { .task = t->task, .tid = t->tid, .fd = fd, .dup = dup, .link = link,
		.fdinfo = text, .mnt_id = info->mnt_id, .carrier = t->carrier };
	struct statfs fs;

	if (dup < 0)
		return err_sys(err, "cannot get descriptor %d of task %d (pidfd_getfd)", fd,
			t->task->pid);
	l.flags = fcntl(dup, F_GETFL);
	if (l.flags < 0 || far_fstat(dup, &l.st) < 0 || read_link(t->fds, name, link) < 0)
		return err_sys(err, "cannot look at descriptor %d of task %d", fd, t->task->pid);
	l.fs_type = far_fstatfs(dup, &fs) < 0 ? 0 : (long)fs.f_type;
	return ask_rooms(t->c, &l, ret, err);
}

/* The entry of the description behind a descriptor, collected if it is new. */
static int find_or_collect(struct table_look *t, int fd, FileEntry **ret, uint32_t *ret_flags,
	bool *ret_new, struct err *err)
{
	auto_free char *text = NULL;
	struct known **at = NULL;
	struct fdinfo info;
	struct stat st;
	char name[16];
	int r;

	snprintf(name, sizeof(name), "%d", fd);
	r = io_slurp_at(t->infos, name, &text, NULL);
	if (r == 0 && far_fstatat(t->fds, name, &st, 0) < 0)
		r = -errno;
	if (r < 0)
		return err_sysn(err, -r, "cannot look at descriptor %d of task %d", fd, t->task->pid);
	if (!fdinfo_parse(text, &info))
		return err_set(err, ERR_KERNEL, 71, "cannot understand fdinfo of descriptor %d of task %d",
			fd, t->task->pid);
	r = find_known(group_of(t->c, &st, &info), t->tid, fd, &at, err);
	if (r < 0)
		return r;
	*ret_new = !*at;
	if (!*at) {
		FileEntry *fe = NULL;

		r = collect_new(t, name, fd, &info, text, &fe, err);
		if (r < 0)
			return r;
		*at = arena_new_of(t->c->arena, struct known);
		**at = (struct known){ .tid = t->tid, .fd = fd, .entry = fe };
	}
	if (info.has_locks && !t->carrier) {
		r = locks_collect(t->c->world, t->c->options, &t->c->seen, t->task, fd, (*at)->entry->id,
			text, err);
		if (r < 0)
			return r;
	}
	*ret = (*at)->entry;
	*ret_flags = info.flags;
	return 0;
}

static int collect_one(struct table_look *t, int fd, FdinfoEntry **ret, struct err *err)
{
	FdinfoEntry *e = arena_msg(t->c->world->arena, FdinfoEntry, fdinfo_entry);
	FileEntry *fe;
	uint32_t flags;
	bool is_new;
	int r = find_or_collect(t, fd, &fe, &flags, &is_new, err);

	if (r < 0)
		return r;
	e->id = fe->id;
	e->type = fe->type;
	e->fd = (uint32_t)fd;
	e->flags = flags & O_CLOEXEC ? 1 : 0;
	*ret = e;
	return 0;
}

static int compare_numbers(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

struct numbers vec_of(int);

static int list_numbers(int fds, struct numbers *ret)
{
	auto_dir DIR *d = NULL;
	struct dirent *de;
	int again = fcntl(fds, F_DUPFD_CLOEXEC, 0);

	d = again < 0 ? NULL : fdopendir(again);
	if (!d)
		return -errno;
	while ((de = readdir(d))) {
		struct cursor c = cursor_of(de->d_name);
		uint32_t n;

		if (parse_u32(&c, 10, &n) && cursor_done(&c) && n <= INT_MAX)
			vec_push(ret, (int)n);
	}
	if (ret->n)
		qsort(ret->at, ret->n, sizeof(*ret->at), compare_numbers);
	return 0;
}

static int collect_numbers(struct table_look *t, struct err *err)
{
	struct arena *arena = t->c->world->arena;
	struct numbers numbers = { 0 };
	struct fdtable *table = t->task->fds;
	int r = list_numbers(t->fds, &numbers);

	if (r < 0)
		r = err_sysn(err, -r, "cannot list the descriptors of task %d", t->task->pid);
	table->fds = arena_array(arena, numbers.n, sizeof(*table->fds));
	table->n_fds = 0;
	for (size_t i = 0; r == 0 && i < numbers.n; i++) {
		r = collect_one(t, numbers.at[i], &table->fds[i], err);
		if (r == 0)
			table->n_fds++;
	}
	vec_done(&numbers);
	return r;
}

int file_collect_table(struct file_collector *c, struct task *task, pid_t tid, struct err *err)
{
	auto_close int fds = -1;
	auto_close int infos = -1;
	auto_close int pidfd = -1;
	struct table_look t = { .c = c, .task = task, .tid = tid };
	char path[64];
	int r = take_pidfd(tid, &pidfd, err);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/fd", tid);
	fds = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/fdinfo", tid);
	infos = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fds < 0 || infos < 0)
		return err_sys(err, "cannot open '%s'", path);
	t.fds = fds;
	t.infos = infos;
	t.pidfd = pidfd;
	return collect_numbers(&t, err);
}

static uint64_t hash_text(const char *s)
{
	uint64_t h = 14695981039346656037u;

	while (*s)
		h = (h ^ (unsigned char)*s++) * 1099511628211u;
	return h;
}

int file_collect_named(struct file_collector *c, const struct task *task, pid_t tid, int dup,
	const char *link, int flags, uint32_t *ret_id, struct err *err)
{
	struct fd_look l = { .task = task, .tid = tid, .fd = -1, .dup = dup, .flags = flags,
		.link = link, .fdinfo = "", .mnt_id = -1 };
	struct named *first, *n;
	struct statfs fs;
	FileEntry *fe = NULL;
	uint64_t key;
	int r;

	if (far_fstat(dup, &l.st) < 0)
		return err_sys(err, "cannot look at '%s' of task %d", link, task->pid);
	l.fs_type = far_fstatfs(dup, &fs) < 0 ? 0 : (long)fs.f_type;
	key = table_key(table_key(l.st.st_dev, l.st.st_ino), hash_text(link) + (unsigned)flags);
	first = table_get(&c->named, key);
	for (n = first; n; n = n->next) {
		if (n->dev == l.st.st_dev && n->ino == l.st.st_ino && n->flags == flags &&
			!strcmp(n->link, link)) {
			*ret_id = n->id;
			return 0;
		}
	}
	r = ask_rooms(c, &l, &fe, err);
	if (r < 0)
		return r;
	n = arena_new_of(c->arena, struct named);
	*n = (struct named){ .next = first, .dev = l.st.st_dev, .ino = l.st.st_ino, .flags = flags,
		.link = arena_strdup(c->arena, link), .id = fe->id };
	table_put(&c->named, key, n);
	*ret_id = fe->id;
	return 0;
}

static int collect_folder(struct file_collector *c, struct task *t, pid_t tid, const char *which,
	uint32_t *ret_id, struct err *err)
{
	char path[64], link[PATH_MAX];
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/%s", tid, which);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || read_link(AT_FDCWD, path, link) < 0)
		return err_sys(err, "cannot find the %s of task %d", which, t->pid);
	return file_collect_named(c, t, tid, fd, link, O_RDONLY, ret_id, err);
}

int file_collect_fs(struct file_collector *c, struct task *t, pid_t tid, struct err *err)
{
	FsEntry *fs = arena_msg(c->world->arena, FsEntry, fs_entry);
	auto_free char *status = NULL;
	uint64_t mask;
	int r = io_slurpf(&status, NULL, "/proc/%d/status", tid);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the status of task %d", t->pid);
	if (parse_field_u64(status, "Umask:", 8, &mask)) {
		fs->has_umask = true;
		fs->umask = (uint32_t)mask;
	}
	r = collect_folder(c, t, tid, "cwd", &fs->cwd_id, err);
	if (r == 0)
		r = collect_folder(c, t, tid, "root", &fs->root_id, err);
	if (r == 0)
		t->fs = fs;
	return r;
}

int file_find_watched(const struct file_collector *c, const struct file_watch *w,
	struct file_place *ret)
{
	dev_t dev = makedev(w->sdev >> 20, w->sdev & 0xfffff);
	const struct group *g = table_get(&c->inodes, table_key(dev, w->ino));

	for (; g; g = g->same_inode) {
		const struct known *k = g->dev == dev && g->ino == w->ino ? g->root : NULL;

		while (k) {
			int r = kcmp_epoll(k->tid, k->fd, w->tid, w->efd, w->tfd, w->nth);

			if (r < 0)
				return r;
			if (r == 0) {
				*ret = (struct file_place){ .entry = k->entry, .tid = k->tid,
					.fd = k->fd };
				return 0;
			}
			k = r == 1 ? k->more : k->less;
		}
	}
	return -ENOENT;
}

/* ---- queues ---- */

static int open_own_table(struct file_collector *c, struct err *err)
{
	int r;

	if (c->own_pidfd >= 0)
		return 0;
	r = take_pidfd(getpid(), &c->own_pidfd, err);
	if (r < 0)
		return r;
	c->own_fds = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	c->own_infos = open("/proc/self/fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->own_fds < 0 || c->own_infos < 0)
		return err_sys(err, "cannot open '/proc/self/fd'");
	return 0;
}

int file_collect_flying(const struct fd_look *carrier, int take, uint32_t *ret_id, struct err *err)
{
	struct file_collector *c = carrier->collector;
	auto_far int fd = take;
	FileEntry *fe;
	uint32_t flags;
	bool is_new;
	int r = open_own_table(c, err);
	struct table_look t = { .c = c, .task = (struct task *)carrier->task, .tid = getpid(),
		.fds = c->own_fds, .infos = c->own_infos, .pidfd = c->own_pidfd, .carrier = carrier };

	if (r == 0)
		r = find_or_collect(&t, fd, &fe, &flags, &is_new, err);
	if (r < 0)
		return r;
	if (is_new)
		vec_push(&c->own, take_fd(&fd));
	*ret_id = fe->id;
	return 0;
}

/* The pidfd of the task that was asked last is kept: entries of one table follow each other. */
static int peek_one(struct file_collector *c, const struct late *late, pid_t *last, int *pidfd,
	struct err *err)
{
	struct fd_look l = { .world = c->world, .task = late->task, .tid = late->tid, .fd = late->fd,
		.link = "", .fdinfo = "", .mnt_id = -1, .images = c->images, .options = c->options,
		.next_id = &c->next_id, .seen = &c->seen, .ghosts = &c->ghosts, .links = &c->links, .shared = &c->shared,
		.collector = c, .carrier = late->carrier };
	auto_far int dup = -1;

	if (*last != late->tid) {
		cleanup_close(pidfd);
		*pidfd = -1;
		if (take_pidfd(late->tid, pidfd, err) < 0)
			return -ESRCH;
		*last = late->tid;
	}
	dup = (int)syscall(SYS_pidfd_getfd, *pidfd, late->fd, 0);
	if (dup < 0 || far_fstat(dup, &l.st) < 0)
		return err_sys(err, "cannot get descriptor %d of task %d (pidfd_getfd)", late->fd,
			late->task->pid);
	l.dup = dup;
	l.flags = fcntl(dup, F_GETFL);
	return late->kind->peek(&l, late->entry, err);
}

/* The list grows while queues reveal more descriptors with queues. */
static int peek_all(struct file_collector *c, struct err *err)
{
	pid_t last = 0;
	auto_close int pidfd = -1;
	int r = 0;

	for (size_t i = 0; i < c->late.n && r == 0; i++) {
		struct late late = c->late.at[i];

		r = peek_one(c, &late, &last, &pidfd, err);
	}
	return r;
}

void file_collect_undo(struct file_collector *c)
{
	linkremap_undo(c->images, &c->links);
}

int file_collect_finish(struct file_collector *c, struct err *err)
{
	const struct settle s = { .world = c->world, .options = c->options, .images = c->images,
		.seen = &c->seen, .files = c };
	int r = peek_all(c, err);

	for (size_t i = 0; file_kinds[i] && r == 0; i++)
		if (file_kinds[i]->settle)
			r = file_kinds[i]->settle(&s, err);
	return r;
}
