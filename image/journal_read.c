// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading half of the journal: see image/journal.h. What it says is foreign until checked: the
 * file may have been copied from another computer, or written by someone who hopes that root
 * cleans up for him. Here only the form is checked; names/leftovers.c looks for proof.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "base/table.h"
#include "image/journal_priv.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_BYTES = 256 << 20 };

bool journal_boot_id(char ret[37])
{
	auto_free char *text = NULL;
	size_t len;

	if (io_slurp("/proc/sys/kernel/random/boot_id", &text, &len) < 0 || len < 36)
		return false;
	memcpy(ret, text, 36);
	ret[36] = '\0';
	return true;
}

uint64_t journal_process_start(pid_t pid)
{
	auto_free char *text = NULL;
	struct cursor c;
	const char *word;
	uint64_t start = 0;
	size_t len;

	if (io_slurpf(&text, NULL, "/proc/%d/stat", pid) < 0 || !strrchr(text, ')'))
		return 0;
	c = cursor_of(strrchr(text, ')') + 1);
	for (int field = 3; field < 22; field++) {
		parse_blanks(&c);
		if (!parse_word(&c, &word, &len))
			return 0;
	}
	parse_blanks(&c);
	return parse_u64(&c, 10, &start) ? start : 0;
}

/* One record, split: "make 7 kind=link ...". */
struct record {
	struct cursor rest;
	uint32_t number;
};

static bool unescape(struct cursor *c, char *buf, size_t size)
{
	size_t n = 0;

	while (!cursor_done(c) && *c->at != ' ') {
		struct cursor code;
		uint64_t byte;

		if (n + 1 >= size)
			return false;
		if (*c->at != '%') {
			buf[n++] = *c->at++;
			continue;
		}
		if (c->end - c->at < 3)
			return false;
		code = cursor_of_len(c->at + 1, 2);
		if (!parse_u64(&code, 16, &byte) || !cursor_done(&code) || !byte)
			return false;
		buf[n++] = (char)byte;
		c->at += 3;
	}
	buf[n] = '\0';
	return true;
}

/* " name=value" at the cursor, whatever the name; false at the end or if it has another form. */
static bool next_field(struct cursor *c, char *name, size_t name_size, char *value, size_t size)
{
	size_t n = 0;

	if (!parse_lit(c, " "))
		return false;
	while (!cursor_done(c) && *c->at != '=') {
		if (n + 1 >= name_size || *c->at == ' ')
			return false;
		name[n++] = *c->at++;
	}
	name[n] = '\0';
	return parse_lit(c, "=") && unescape(c, value, size);
}

static bool number_of(const char *text, uint64_t *ret)
{
	struct cursor c = cursor_of(text);

	return parse_u64(&c, 10, ret) && cursor_done(&c);
}

static bool pid_of(const char *text, pid_t *ret)
{
	uint64_t n;

	if (!number_of(text, &n) || n > INT_MAX)
		return false;
	*ret = (pid_t)n;
	return true;
}

static bool kind_of(const char *name, enum effect_kind *ret)
{
	for (int k = 0; k < EFFECT_COUNT; k++) {
		if (strcmp(effect_kind_name((enum effect_kind)k), name))
			continue;
		*ret = (enum effect_kind)k;
		return true;
	}
	return false;
}

static bool read_run(struct record *rec, struct arena *a, const struct journal_run **ret)
{
	struct journal_run *run = arena_new_of(a, struct journal_run);
	char name[16], value[PATH_MAX];

	*run = (struct journal_run){ .number = rec->number, .command = "", .id = "", .boot = "" };
	while (next_field(&rec->rest, name, sizeof(name), value, sizeof(value))) {
		if (!strcmp(name, FIELD_COMMAND))
			run->command = arena_strdup(a, value);
		else if (!strcmp(name, FIELD_ID))
			run->id = arena_strdup(a, value);
		else if (!strcmp(name, FIELD_BOOT))
			run->boot = arena_strdup(a, value);
		else if (!strcmp(name, FIELD_PID) && !pid_of(value, &run->pid))
			return false;
		else if (!strcmp(name, FIELD_SINCE) && !number_of(value, &run->since))
			return false;
	}
	*ret = run;
	return cursor_done(&rec->rest);
}

static bool read_make(struct record *rec, struct arena *a, struct journal_effect *ret)
{
	char name[16], value[PATH_MAX];
	struct effect *e = &ret->effect;
	bool has_kind = false, good = true;

	ret->id = rec->number;
	while (good && next_field(&rec->rest, name, sizeof(name), value, sizeof(value))) {
		if (!strcmp(name, FIELD_KIND))
			good = has_kind = kind_of(value, &e->kind);
		else if (!strcmp(name, FIELD_PATH))
			e->path = arena_strdup(a, value);
		else if (!strcmp(name, FIELD_WHY))
			e->why = arena_strdup(a, value);
		else if (!strcmp(name, FIELD_DEV))
			good = number_of(value, &e->dev);
		else if (!strcmp(name, FIELD_INO))
			good = number_of(value, &e->ino);
		else if (!strcmp(name, FIELD_PID))
			good = pid_of(value, &e->pid);
		else if (!strcmp(name, FIELD_SINCE))
			good = number_of(value, &e->since);
	}
	return good && has_kind && rec->number && cursor_done(&rec->rest);
}

struct reader {
	struct arena *arena;
	struct journal_view *view;
	const struct journal_run *run;
	struct table ids; /* id -> 1 + index */
};

static bool start_of(struct cursor *line, const char *word, struct record *ret)
{
	struct cursor c = *line;

	if (!parse_lit(&c, word) || !parse_u32(&c, 10, &ret->number))
		return false;
	ret->rest = c;
	return true;
}

static bool take_line(struct reader *rd, struct cursor line)
{
	const size_t end = strlen(JOURNAL_END);
	struct journal_effect e = { .run = rd->run };
	struct record rec;
	uintptr_t at;

	if ((size_t)(line.end - line.at) < end || memcmp(line.end - end, JOURNAL_END, end))
		return false;
	line.end -= end;
	if (start_of(&line, "run ", &rec)) {
		rd->view->last_run = rec.number;
		return read_run(&rec, rd->arena, &rd->run);
	}
	if (start_of(&line, "make ", &rec)) {
		if (!rd->run || !read_make(&rec, rd->arena, &e) || table_get(&rd->ids, e.id))
			return false;
		vec_push(&rd->view->effects, e);
		table_put(&rd->ids, e.id, (void *)(uintptr_t)rd->view->effects.n);
		return true;
	}
	if (start_of(&line, "gone ", &rec)) {
		at = (uintptr_t)table_get(&rd->ids, rec.number);
		if (at)
			rd->view->effects.at[at - 1].gone = true;
		return at && cursor_done(&rec.rest);
	}
	return false;
}

/*
 * A line torn by a sudden death is no effect: nothing is made before its line is whole. It can
 * stand in the middle, too, when a later run went on behind it; then the next line begins a run.
 */
static int take_text(struct reader *rd, const char *text, size_t len, struct err *err)
{
	struct cursor c = cursor_of_len(text, len), line;
	size_t number = 1, torn = 0;

	if (!parse_lit(&c, JOURNAL_HEAD))
		return len < strlen(JOURNAL_HEAD) && !memcmp(text, JOURNAL_HEAD, len) ?
			0 :
			err_image(err, "'" JOURNAL_NAME "' is no journal of this version of torpor");
	while (parse_line(&c, &line)) {
		bool good = true;

		number++;
		if (torn && !(line.end - line.at >= 4 && !memcmp(line.at, "run ", 4)))
			return err_image(err, "'" JOURNAL_NAME "': line %zu cannot be understood", torn);
		torn = 0;
		if (line.at != line.end)
			good = take_line(rd, line);
		if (!good)
			torn = number;
	}
	return 0;
}

static bool only_ours(int dirfd, int fd)
{
	struct stat dir, file;

	if (fstat(dirfd, &dir) < 0 || fstat(fd, &file) < 0)
		return false;
	return (dir.st_uid == 0 || dir.st_uid == geteuid()) && !(dir.st_mode & 022) &&
		(file.st_uid == 0 || file.st_uid == geteuid()) && !(file.st_mode & 022) &&
		file.st_nlink == 1;
}

int journal_read(int dirfd, struct arena *a, struct journal_view *ret, struct err *err)
{
	struct reader rd = { .arena = a, .view = ret };
	auto_close int fd = openat(dirfd, JOURNAL_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	auto_free char *text = NULL;
	struct stat st;
	int r;

	*ret = (struct journal_view){ 0 };
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "cannot open the journal '" JOURNAL_NAME "'");
	if (!S_ISREG(st.st_mode) || st.st_size > MOST_BYTES)
		return err_image(err, "'" JOURNAL_NAME "' is no journal");
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_nomem(err);
	r = io_pread_all(fd, text, (size_t)st.st_size, 0);
	if (r < 0)
		return err_sysn(err, -r, "cannot read the journal '" JOURNAL_NAME "'");
	ret->found = true;
	ret->trusted = only_ours(dirfd, fd);
	r = take_text(&rd, text, (size_t)st.st_size, err);
	table_done(&rd.ids);
	return r;
}
