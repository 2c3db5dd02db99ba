// SPDX-License-Identifier: GPL-2.0-or-later
/* See names/effects.h: firewall rules and connections in repair. */
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/table.h"
#include "kernel/mountinfo.h"
#include "kernel/nft.h"
#include "kernel/tcp_repair.h"
#include "names/effects.h"
#include "names/netlock.h"
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define OUR_NETWORK "/proc/self/ns/net"
#define NAMED_NETWORKS "/run/netns"

/* ---- network namespaces ---- */

struct tour {
	struct table seen;
	int (*fn)(uint64_t dev, uint64_t ino, void *ctx, struct err *err);
	void *ctx;
	int home; /* descriptor of our own namespace */
};

/* One namespace, unless it was visited before. */
static int visit(struct tour *t, const char *path, struct err *err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || table_get(&t->seen, table_key(st.st_dev, st.st_ino)))
		return 0;
	table_put(&t->seen, table_key(st.st_dev, st.st_ino), t);
	if (setns(fd, CLONE_NEWNET) < 0)
		return 0;
	r = t->fn(st.st_dev, st.st_ino, t->ctx, err);
	if (setns(t->home, CLONE_NEWNET) < 0 && r == 0)
		r = err_sys(err, "cannot return to torpor's own network namespace");
	return r;
}

static int visit_folder(struct tour *t, const char *folder, bool processes, struct err *err)
{
	auto_dir DIR *dir = opendir(folder);
	struct dirent *d;
	char path[PATH_MAX];
	int r = 0;

	while (dir && r == 0 && (d = readdir(dir))) {
		if (processes ? !isdigit((unsigned char)d->d_name[0]) : d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s%s", folder, d->d_name, processes ? "/ns/net" : "");
		r = visit(t, path, err);
	}
	return r;
}

/* Where container engines keep them: files on which a namespace is mounted. */
static int visit_mounts(struct tour *t, struct err *err)
{
	struct arena *arena = arena_new();
	struct mount_lines mounts = { 0 };
	struct err ignored = ERR_INIT;
	int r = 0;

	(void)!mountinfo_read("self", arena, &mounts, &ignored);
	for (size_t i = 0; i < mounts.n && r == 0; i++)
		if (!strcmp(mounts.at[i].type, "nsfs") && !strncmp(mounts.at[i].root, "net:", 4))
			r = visit(t, mounts.at[i].point, err);
	arena_free(arena);
	return r;
}

int effect_each_network(int (*fn)(uint64_t dev, uint64_t ino, void *ctx, struct err *err),
	void *ctx, struct err *err)
{
	auto_close int home = open(OUR_NETWORK, O_RDONLY | O_CLOEXEC);
	struct tour t = { .fn = fn, .ctx = ctx, .home = home };
	int r;

	if (home < 0)
		return err_sys(err, "cannot open torpor's own network namespace");
	r = visit(&t, OUR_NETWORK, err);
	if (r == 0)
		r = visit_mounts(&t, err);
	if (r == 0)
		r = visit_folder(&t, NAMED_NETWORKS, false, err);
	if (r == 0)
		r = visit_folder(&t, "/proc", true, err);
	table_done(&t.seen);
	return r;
}

/* ---- tables and rules ---- */

struct round {
	struct effect_item *items;
	size_t n;
	bool remove;
};

static const char *table_name(const struct effect *e)
{
	return e->path && !strncmp(e->path, "inet ", 5) ? e->path + 5 : NULL;
}

/* Whether this item is looked for (or taken back) in this namespace. */
static bool is_here(const struct round *rd, const struct effect_item *i, enum effect_kind kind,
	uint64_t dev, uint64_t ino)
{
	return i->e->kind == kind && i->e->dev == dev && i->e->ino == ino && i->same_boot &&
		(!rd->remove || (i->remove && i->state != EFFECT_ABSENT));
}

static int tables_here(struct round *rd, uint64_t dev, uint64_t ino, struct err *err)
{
	struct nft_tables list = { 0 };
	bool listed = false;
	int r = 0;

	for (struct effect_item *i = rd->items; i < rd->items + rd->n && r == 0; i++) {
		if (!is_here(rd, i, EFFECT_NFT_TABLE, dev, ino) || !table_name(i->e))
			continue;
		if (rd->remove) {
			r = nft_delete_table(table_name(i->e), err);
			i->state = EFFECT_ABSENT;
			r = r < 0 ? r : 0;
			continue;
		}
		if (!listed && nft_usable() == 0)
			r = nft_list_tables("", &list, err);
		listed = true;
		vec_each(t, &list)
			if (!strcmp(t->name, table_name(i->e)))
				i->state = EFFECT_OURS;
	}
	vec_done(&list);
	return r;
}

static int rules_here(struct round *rd, uint64_t dev, uint64_t ino, struct err *err)
{
	struct flow_list list = { 0 }, gone = { 0 };
	bool listed = false;
	struct flow f;
	int r = 0;

	for (struct effect_item *i = rd->items; i < rd->items + rd->n && r == 0; i++) {
		if (!is_here(rd, i, EFFECT_IPTABLES, dev, ino) || !i->e->path ||
			!flow_parse(i->e->path, &f))
			continue;
		if (!listed)
			r = iptables_list(&list, err);
		listed = true;
		i->state = r == 0 && iptables_has(&list, &f) ? EFFECT_OURS : EFFECT_ABSENT;
		if (rd->remove && i->state == EFFECT_OURS) {
			vec_push(&gone, f);
			i->state = EFFECT_ABSENT;
		}
	}
	if (r == 0 && gone.n)
		r = iptables_delete(gone.at, gone.n, err);
	vec_done(&list);
	vec_done(&gone);
	return r;
}

static int in_network(uint64_t dev, uint64_t ino, void *ctx, struct err *err)
{
	int r = tables_here(ctx, dev, ino, err);

	return r < 0 ? r : rules_here(ctx, dev, ino, err);
}

/* ---- connections in repair ---- */

/* The sockets of one process: inode -> 1 + descriptor number. */
struct sockets {
	pid_t pid;
	uint64_t since;
	int pidfd;
	struct table by_inode;
};

static void sockets_done(struct sockets *s)
{
	if (s->pidfd >= 0)
		close(s->pidfd);
	table_done(&s->by_inode);
	*s = (struct sockets){ .pidfd = -1 };
}

static void sockets_list(struct sockets *s, pid_t pid, uint64_t since)
{
	char path[64], link[64];
	auto_dir DIR *dir = NULL;
	struct dirent *d;

	sockets_done(s);
	s->pid = pid;
	s->since = since;
	s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (s->pidfd < 0 || !dir || journal_process_start(pid) != since)
		return;
	while ((d = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);
		struct cursor c;
		uint64_t ino;

		link[n < 0 ? 0 : n] = '\0';
		c = cursor_of(link);
		if (parse_lit(&c, "socket:[") && parse_u64(&c, 10, &ino))
			table_put(&s->by_inode, ino, (void *)(uintptr_t)(1 + atoi(d->d_name)));
	}
}

/* A descriptor of the item's socket, -1 if it is gone. */
static int find_socket(struct sockets *s, const struct effect *e)
{
	uintptr_t at;

	if (e->pid <= 0 || !e->since)
		return -1;
	if (s->pid != e->pid || s->since != e->since)
		sockets_list(s, e->pid, e->since);
	at = (uintptr_t)table_get(&s->by_inode, e->ino);
	return at ? (int)syscall(SYS_pidfd_getfd, s->pidfd, (int)at - 1, 0) : -1;
}

static int end_repair(int fd, const struct effect *e, struct err *err)
{
	int reuse = e->path && !strcmp(e->path, "1"), r = tcp_repair_end(fd, true, err);

	if (r == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse)) < 0)
		r = err_sys(err, "cannot set SO_REUSEADDR again");
	return r;
}

static int repairs(struct round *rd, struct err *err)
{
	struct sockets s = { .pidfd = -1 };
	int r = 0;

	for (struct effect_item *i = rd->items; i < rd->items + rd->n && r == 0; i++) {
		auto_close int fd = -1;

		if (!is_here(rd, i, EFFECT_REPAIR, i->e->dev, i->e->ino))
			continue;
		fd = find_socket(&s, i->e);
		i->state = fd >= 0 && tcp_repair_is_on(fd) == 1 ? EFFECT_OURS : EFFECT_ABSENT;
		if (rd->remove && i->state == EFFECT_OURS) {
			r = end_repair(fd, i->e, err);
			i->state = EFFECT_ABSENT;
		}
	}
	sockets_done(&s);
	return r;
}

/* ---- all ---- */

static int go_round(struct round *rd, struct err *err)
{
	bool rules = false;
	int r = repairs(rd, err);

	for (size_t i = 0; i < rd->n; i++)
		rules |= rd->items[i].e->kind == EFFECT_NFT_TABLE ||
			rd->items[i].e->kind == EFFECT_IPTABLES;
	return r == 0 && rules ? effect_each_network(in_network, rd, err) : r;
}

int effects_look_net(struct effect_item *items, size_t n, struct err *err)
{
	struct round rd = { .items = items, .n = n };

	return go_round(&rd, err);
}

int effects_remove_net(struct effect_item *items, size_t n, struct err *err)
{
	struct round rd = { .items = items, .n = n, .remove = true };

	return go_round(&rd, err);
}
