// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who would let a dump hang: file systems on which the target has files (names/answer.h; only asked
 * where something is mounted that may hang), and a frozen control group, whose tasks can be stopped
 * but not asked about themselves.
 */
#include "base/cleanup.h"
#include "base/far.h"
#include "base/io.h"
#include "base/parse.h"
#include "dump/ctx.h"
#include "inject/explain.h"
#include "names/answer.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct asked {
	const struct dump *d;
	bool *doubtful; /* by subject: its mounts */
};

/* ---- in the child ---- */

static void ask_descriptors(struct asking *a, pid_t tid, int64_t who)
{
	char path[64];
	struct dirent *de;
	auto_dir DIR *dir = NULL;

	snprintf(path, sizeof(path), "/proc/%d/fd", tid);
	dir = opendir(path);
	while (dir && (de = readdir(dir))) {
		if (de->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%.16s", tid, de->d_name);
		answer_ask(a, path, who);
	}
}

/* "55d0-55d1 r-xp 00000000 00:2d 1234 /path" */
static bool parse_area(struct cursor *c, uint64_t *start, uint64_t *end, uint32_t *dev)
{
	uint64_t offset;
	uint32_t maj, min;
	const char *flags;
	size_t n;

	if (!parse_u64(c, 16, start) || !parse_lit(c, "-") || !parse_u64(c, 16, end))
		return false;
	parse_blanks(c);
	if (!parse_word(c, &flags, &n))
		return false;
	parse_blanks(c);
	if (!parse_u64(c, 16, &offset))
		return false;
	parse_blanks(c);
	if (!parse_u32(c, 16, &maj) || !parse_lit(c, ":") || !parse_u32(c, 16, &min))
		return false;
	*dev = maj << 20 | min;
	return true;
}

static void ask_areas(struct asking *a, pid_t tid, int64_t who)
{
	auto_free char *text = NULL;
	struct cursor c, line;
	uint64_t start, end;
	uint32_t dev;

	if (io_slurpf(&text, NULL, "/proc/%d/maps", tid) < 0)
		return;
	c = cursor_of(text);
	while (parse_line(&c, &line)) {
		char path[96];

		if (!parse_area(&line, &start, &end, &dev) || !dev || answer_was_asked(a, dev))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", tid, (unsigned long)start,
			(unsigned long)end);
		answer_ask(a, path, who);
	}
}

static void ask_process(struct asking *a, const struct subject *s, int64_t who)
{
	static const char *const links[] = { "cwd", "root", "exe" };
	pid_t tid = subject_voice(s)->tid;
	char path[64];

	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", tid, links[i]);
		answer_ask(a, path, who);
	}
	ask_descriptors(a, tid, who);
	ask_areas(a, tid, who);
}

static void ask_all(struct asking *a, const void *ctx)
{
	const struct asked *q = ctx;

	for (size_t i = 0; i < q->d->subjects.n; i++)
		if (q->doubtful[i])
			ask_process(a, &q->d->subjects.at[i], (int64_t)i);
}

/* ---- in torpor ---- */

static int read_mounts(const struct dump *d, const struct subject *s, struct mount_lines *ret,
	struct err *err)
{
	char who[16];

	snprintf(who, sizeof(who), "%d", subject_voice(s)->tid);
	return mountinfo_read(who, d->world->arena, ret, err);
}

/* The mounts of each mount namespace are looked at once; > 0: there is something to ask. */
static int look_at_mounts(struct asked *q, struct err *err)
{
	static const char yes, no;
	const struct dump *d = q->d;
	struct table seen = { 0 };
	bool any = false;
	int r = 0;

	for (size_t i = 0; i < d->subjects.n && r == 0; i++) {
		const struct subject *s = &d->subjects.at[i];
		struct mount_lines mounts;
		const char *known;
		struct stat st;
		char path[64];

		if (s->zombie)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/ns/mnt", subject_voice(s)->tid);
		if (stat(path, &st) < 0)
			continue;
		known = table_get(&seen, st.st_ino);
		if (!known) {
			r = read_mounts(d, s, &mounts, err);
			known = r == 0 && answer_is_doubtful(&mounts) ? &yes : &no;
			table_put(&seen, st.st_ino, (void *)(uintptr_t)known);
		}
		q->doubtful[i] = known == &yes;
		any |= q->doubtful[i];
	}
	table_done(&seen);
	return r < 0 ? r : any;
}

static int refuse(const struct dump *d, const struct unanswered *u, struct err *err)
{
	const struct subject *s = &d->subjects.at[u->who];
	struct mount_lines mounts;
	char name[PATH_MAX], whose[64];
	ssize_t n = readlink(u->path, name, sizeof(name) - 1);
	int r = read_mounts(d, s, &mounts, err);

	if (r < 0)
		return r;
	name[n < 0 ? 0 : n] = '\0';
	snprintf(whose, sizeof(whose), "task %d (%s)", s->pid, task_comm(s->task));
	return answer_refuse(u, &mounts, whose, n < 0 ? u->path : name, err);
}

int dump_await_file_systems(struct dump *d, struct err *err)
{
	struct asked q = { .d = d };
	struct unanswered u;
	int r;

	q.doubtful = arena_array(d->world->arena, d->subjects.n, sizeof(*q.doubtful));
	r = look_at_mounts(&q, err);
	if (r <= 0)
		return r;
	r = answer_await(ask_all, &q, (unsigned)d->o->timeout, &u, err);
	if (r != 0)
		return r > 0 ? refuse(d, &u, err) : r;
	/* one that begins to hang later is met by who looks at files for us */
	return far_begin((unsigned)d->o->timeout, err);
}

int dump_refuse_hanging(struct dump *d, struct err *err)
{
	struct unanswered u = { .dev = 0 };
	const char *path = far_hangs();
	struct mount_lines mounts;
	int r = read_mounts(d, &d->subjects.at[0], &mounts, err);

	return r < 0 ? r : answer_refuse(&u, &mounts, "a file of the target", path, err);
}

/* That of the root stands for all; who is in another one shows when it is asked (inject/hold.h). */
static int check_group(const struct dump *d, struct err *err)
{
	const struct subject *root = &d->subjects.at[0];
	char frozen[400];

	if (!explain_frozen(root->pid, frozen, sizeof(frozen)))
		return 0;
	return err_target(err, EBUSY, "task %d (%s) cannot be asked about itself: %s", root->pid,
		task_comm(root->task), frozen);
}

int dump_await_answers(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r = check_group(d, err);

	return r < 0 ? r : dump_await_file_systems(d, err);
}
