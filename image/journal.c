// SPDX-License-Identifier: GPL-2.0-or-later
/* Writing half of the journal: see image/journal.h. */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/table.h"
#include "image/journal_priv.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

enum { LOCK_TRIES = 1000, LOCK_WAIT_NS = 10000000 };

struct journal {
	int dirfd; /* the caller's */
	int fd; /* -1 until something is written */
	const char *command;
	char run_id[37];
	uint32_t run, next; /* number of this run, id of the next effect */
	size_t standing; /* effects of all runs which are not gone */
	struct table gone; /* ids, for those who take things back twice */
	struct vec_of(char) text; /* what the next sync writes */
};

static const char *const kind_names[EFFECT_COUNT] = {
	[EFFECT_LINK] = "link",
	[EFFECT_FILE] = "file",
	[EFFECT_MOUNT] = "mount",
	[EFFECT_NFT_TABLE] = "nft-table",
	[EFFECT_IPTABLES] = "iptables",
	[EFFECT_CGROUP] = "frozen-cgroup",
	[EFFECT_PROCESS] = "process",
	[EFFECT_REPAIR] = "tcp-repair",
};

const char *effect_kind_name(enum effect_kind kind)
{
	return kind_names[kind];
}

/* ---- the index ---- */

/* A name for the directory which stays the same however it is reached. */
static bool index_name(int dirfd, char *buf, size_t size)
{
	struct stat st;

	if (fstat(dirfd, &st) < 0)
		return false;
	snprintf(buf, size, JOURNAL_INDEX "/%lx-%lx", (unsigned long)st.st_dev,
		(unsigned long)st.st_ino);
	return true;
}

bool journal_is_indexed(const char *entry, int dirfd)
{
	char name[PATH_MAX];

	return index_name(dirfd, name, sizeof(name)) && !strcmp(strrchr(name, '/') + 1, entry) &&
		faccessat(dirfd, JOURNAL_NAME, F_OK, 0) == 0;
}

static bool make_folders(const char *path)
{
	char buf[PATH_MAX];

	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(buf, sizeof(buf), "%.*s", (int)(slash - path), path);
		if (mkdir(buf, 0755) < 0 && errno != EEXIST)
			return false;
	}
	return true;
}

static void index_add(int dirfd)
{
	char self[64], path[PATH_MAX], name[PATH_MAX];
	ssize_t n;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", dirfd);
	n = readlink(self, path, sizeof(path) - 1);
	if (n <= 0 || !index_name(dirfd, name, sizeof(name)))
		return;
	path[n] = '\0';
	if (!make_folders(name) || (unlink(name) < 0 && errno != ENOENT) || symlink(path, name) < 0)
		log_info("'%s' cannot be written: 'torpor leftovers' needs -D to find the journal of "
			"this directory", JOURNAL_INDEX);
}

static void index_remove(int dirfd)
{
	char name[PATH_MAX];

	if (index_name(dirfd, name, sizeof(name)))
		unlink(name);
}

/* ---- records ---- */

static void put_bytes(struct journal *j, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		vec_push(&j->text, s[i]);
}

static void put_text(struct journal *j, const char *s)
{
	put_bytes(j, s, strlen(s));
}

/* Blanks, newlines and what is no plain ASCII become %XX. */
static void put_field(struct journal *j, const char *name, const char *value)
{
	char code[8];

	if (!value || !*value)
		return;
	put_text(j, " ");
	put_text(j, name);
	put_text(j, "=");
	for (const char *p = value; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (c > ' ' && c < 0x7f && c != '%') {
			vec_push(&j->text, *p);
			continue;
		}
		snprintf(code, sizeof(code), "%%%02x", c);
		put_text(j, code);
	}
}

static void put_number(struct journal *j, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lu", (unsigned long)value);
	if (value)
		put_field(j, name, text);
}

static void put_start(struct journal *j, const char *word, uint32_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%s %u", word, number);
	put_text(j, text);
}

static void put_run(struct journal *j)
{
	char boot[37] = "";

	journal_boot_id(boot);
	put_start(j, "run", j->run);
	put_field(j, FIELD_COMMAND, j->command);
	put_field(j, FIELD_ID, j->run_id);
	put_field(j, FIELD_BOOT, boot);
	put_number(j, FIELD_PID, (uint64_t)getpid());
	put_number(j, FIELD_SINCE, journal_process_start(getpid()));
	put_text(j, JOURNAL_END "\n");
}

/* ---- the file ---- */

static int sync_fd(int fd)
{
	/* EINVAL, EROFS: file systems that have nothing to sync */
	return fsync(fd) < 0 && errno != EINVAL && errno != EROFS ? -errno : 0;
}

/* A new file gets its head; behind a torn line of a run that died, a new one begins. */
static int mend_end(struct journal *j, off_t size)
{
	char last;

	if (size < (off_t)strlen(JOURNAL_HEAD))
		return ftruncate(j->fd, 0) < 0 ? -errno :
						 io_write_all(j->fd, JOURNAL_HEAD, strlen(JOURNAL_HEAD));
	if (pread(j->fd, &last, 1, size - 1) != 1)
		return -EIO;
	return last == '\n' ? 0 : io_write_all(j->fd, "\n", 1);
}

/*
 * Who writes a journal has it locked; so nobody removes it under him. Held alone only for the moment
 * of removal. 1: it has just been removed. Where a file system has no locks it goes without.
 */
static int lock_shared(int fd)
{
	const struct timespec wait = { .tv_nsec = LOCK_WAIT_NS };
	struct stat st;
	int r;

	for (int i = 0; i < LOCK_TRIES; i++) {
		r = flock(fd, LOCK_SH | LOCK_NB);
		if (r == 0 || errno != EWOULDBLOCK)
			return fstat(fd, &st) < 0 ? -errno : st.st_nlink == 0;
		nanosleep(&wait, NULL);
	}
	return -EWOULDBLOCK;
}

/* The file that stands there, or a new one, locked. */
static int open_locked(struct journal *j)
{
	const int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW;
	int r;

	do {
		j->fd = openat(j->dirfd, JOURNAL_NAME, flags, 0600);
		if (j->fd < 0)
			return -errno;
		r = lock_shared(j->fd);
		if (r) {
			close(j->fd);
			j->fd = -1;
		}
	} while (r > 0);
	return r;
}

static int begin(struct journal *j, struct err *err)
{
	struct stat st;
	int r;

	if (j->fd >= 0)
		return 0;
	index_add(j->dirfd);
	r = open_locked(j);
	if (r == -EWOULDBLOCK)
		return err_target(err, EWOULDBLOCK, "the journal '" JOURNAL_NAME "' in the images "
			"directory is locked by another process; end that first");
	if (r < 0)
		return err_sysn(err, -r, "cannot write the journal '" JOURNAL_NAME "' into the images "
			"directory");
	if (fstat(j->fd, &st) < 0)
		return err_sys(err, "cannot look at the journal");
	r = mend_end(j, st.st_size);
	if (r == 0)
		r = sync_fd(j->dirfd);
	return r < 0 ? err_sysn(err, -r, "cannot write the journal") : 0;
}

static bool nothing_stands(int dirfd)
{
	struct arena *arena = arena_new();
	struct journal_view view;
	struct err ignored = ERR_INIT;
	bool nothing = journal_read(dirfd, arena, &view, &ignored) == 0;

	vec_each(e, &view.effects)
		nothing = nothing && e->gone;
	vec_done(&view.effects);
	arena_free(arena);
	return nothing;
}

/* A journal which nobody else writes, and in which nothing stands, goes. */
static void remove_idle(int dirfd, int fd)
{
	struct stat st;

	if ((flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) || fstat(fd, &st) < 0 ||
		!st.st_nlink || !nothing_stands(dirfd))
		return;
	unlinkat(dirfd, JOURNAL_NAME, 0);
	index_remove(dirfd);
}

void journal_tidy(int dirfd)
{
	auto_close int fd = openat(dirfd, JOURNAL_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0)
		remove_idle(dirfd, fd);
}

int journal_open(int dirfd, const char *command, struct journal **ret, struct err *err)
{
	struct arena *arena = arena_new();
	struct journal_view view;
	struct journal *j;
	auto_free char *uuid = NULL;
	int r = journal_read(dirfd, arena, &view, err);

	if (r == 0) {
		r = io_slurp("/proc/sys/kernel/random/uuid", &uuid, NULL);
		if (r < 0)
			r = err_sysn(err, -r, "cannot read /proc/sys/kernel/random/uuid");
	}
	if (r == 0) {
		j = calloc(1, sizeof(*j));
		if (!j)
			abort();
		*j = (struct journal){ .dirfd = dirfd, .fd = -1, .command = command,
			.run = view.last_run + 1, .next = 1 };
		snprintf(j->run_id, sizeof(j->run_id), "%.36s", uuid);
		j->run_id[strcspn(j->run_id, "\n")] = '\0';
		vec_each(e, &view.effects) {
			j->next = e->id >= j->next ? e->id + 1 : j->next;
			j->standing += !e->gone;
			if (e->gone)
				table_put(&j->gone, e->id, j);
		}
		*ret = j;
	}
	vec_done(&view.effects);
	arena_free(arena);
	return r;
}

const char *journal_run_id(const struct journal *j)
{
	return j->run_id;
}

int journal_sync(struct journal *j, struct err *err)
{
	int r = j->text.n ? io_write_all(j->fd, j->text.at, j->text.n) : 0;

	j->text.n = 0;
	if (r == 0)
		r = sync_fd(j->fd);
	return r < 0 ? err_sysn(err, -r, "cannot write the journal") : 0;
}

int journal_note(struct journal *j, const struct effect *e, uint32_t *ret_id, struct err *err)
{
	bool first = j->fd < 0;
	int r = begin(j, err);

	if (r < 0)
		return r;
	if (first)
		put_run(j);
	put_start(j, "make", j->next);
	put_field(j, FIELD_KIND, kind_names[e->kind]);
	put_field(j, FIELD_PATH, e->path);
	put_number(j, FIELD_DEV, e->dev);
	put_number(j, FIELD_INO, e->ino);
	put_number(j, FIELD_PID, (uint64_t)e->pid);
	put_number(j, FIELD_SINCE, e->since);
	put_field(j, FIELD_WHY, e->why);
	put_text(j, JOURNAL_END "\n");
	if (ret_id)
		*ret_id = j->next;
	j->next++;
	j->standing++;
	return 0;
}

int journal_add(struct journal *j, const struct effect *e, uint32_t *ret_id, struct err *err)
{
	int r = journal_note(j, e, ret_id, err);

	return r < 0 ? r : journal_sync(j, err);
}

void journal_gone(struct journal *j, uint32_t id)
{
	struct err err = ERR_INIT;
	bool first = j->fd < 0;
	int r;

	if (!id || id >= j->next || table_get(&j->gone, id))
		return;
	table_put(&j->gone, id, j);
	j->standing--;
	r = begin(j, &err);
	if (r == 0) {
		if (first)
			put_run(j);
		put_start(j, "gone", id);
		put_text(j, JOURNAL_END "\n");
		r = io_write_all(j->fd, j->text.at, j->text.n);
	}
	j->text.n = 0;
	if (r < 0)
		log_warn("the journal cannot be written; 'torpor leftovers' looks for what is gone");
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (j->fd >= 0) {
		if (!j->standing)
			remove_idle(j->dirfd, j->fd);
		close(j->fd);
	}
	vec_done(&j->text);
	table_done(&j->gone);
	free(j);
}
