/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Putting one setting into struct options: text to bool, number, size, string or list, with the
 * limits the table names. Command line, configuration files (and RPC) all come through here.
 */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "options/table.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *member_of(struct options *o, const struct option_spec *spec)
{
	return (char *)o + spec->offset;
}

static int apply_int(int64_t *at, const struct option_spec *spec, const char *value,
	const char *where, struct err *err)
{
	struct cursor c = cursor_of(value);
	int64_t n;

	if (!parse_i64(&c, &n) || !cursor_done(&c))
		return err_usage(err, "%s needs a number, not '%s'", where, value);
	if (spec->traits & TRAIT_POSITIVE && n <= 0)
		return err_usage(err, "%s needs a number above 0, not '%s'", where, value);
	if (spec->traits & TRAIT_NOTNEG && n < 0)
		return err_usage(err, "%s cannot be negative, as '%s' is", where, value);
	if (n > INT32_MAX || n < INT32_MIN)
		return err_usage(err, "%s cannot be as large as '%s'", where, value);
	*at = n;
	return 0;
}

static int apply_size(uint64_t *at, const char *value, const char *where, struct err *err)
{
	struct cursor c = cursor_of(value);
	unsigned int shift = 0;
	uint64_t n;

	if (!parse_u64(&c, 10, &n))
		return err_usage(err, "%s needs a size such as 512K, 4M or 1G, not '%s'", where, value);
	if (parse_lit(&c, "K") || parse_lit(&c, "k"))
		shift = 10;
	else if (parse_lit(&c, "M") || parse_lit(&c, "m"))
		shift = 20;
	else if (parse_lit(&c, "G") || parse_lit(&c, "g"))
		shift = 30;
	if (!cursor_done(&c))
		return err_usage(err, "%s needs a size such as 512K, 4M or 1G, not '%s'", where, value);
	if (n > UINT64_MAX >> shift)
		return err_usage(err, "%s cannot be as large as '%s'", where, value);
	*at = n << shift;
	return 0;
}

enum word_state { WORD_UNKNOWN, WORD_READY, WORD_LATER };

/* Looks one word up in "a,b;c" */
static enum word_state word_find(const char *values, const char *word, size_t len)
{
	enum word_state state = WORD_READY;

	while (*values) {
		size_t n = strcspn(values, ",;");

		if (n == len && !memcmp(values, word, len))
			return state;
		values += n;
		if (*values == ';')
			state = WORD_LATER;
		if (*values)
			values++;
	}
	return WORD_UNKNOWN;
}

static int check_word(const struct option_spec *spec, const char *word, size_t len,
	const char *where, struct err *err)
{
	switch (word_find(spec->values, word, len)) {
	case WORD_READY:
		return 0;
	case WORD_LATER:
		return err_unsupported(err,
			"option --%s=%.*s is not supported by this version of torpor", spec->name,
			(int)len, word);
	case WORD_UNKNOWN:
		break;
	}
	return err_usage(err, "%s does not know '%.*s', only %.*s", where, (int)len, word,
		(int)strcspn(spec->values, ";"), spec->values);
}

static int check_words(const struct option_spec *spec, const char *value, const char *where,
	struct err *err)
{
	size_t n;
	int r;

	if (!(spec->traits & TRAIT_WORDS))
		return check_word(spec, value, strlen(value), where, err);
	for (;;) {
		if (*value == '^')
			value++;
		n = strcspn(value, ",");
		r = check_word(spec, value, n, where, err);
		if (r < 0 || !value[n])
			return r;
		value += n + 1;
	}
}

/* --close: the descriptor goes now, before anything else is opened. */
static int close_now(const char *value, const char *where, struct err *err)
{
	struct cursor c = cursor_of(value);
	uint32_t fd;

	if (!parse_u32(&c, 10, &fd) || !cursor_done(&c) || fd > INT32_MAX)
		return err_usage(err, "%s needs a descriptor number, not '%s'", where, value);
	close((int)fd);
	return 0;
}

/* A setting without argument where one is possible. */
static void apply_missing(struct options *o, const struct option_spec *spec)
{
	if (spec->traits & TRAIT_COUNT)
		(*(int64_t *)member_of(o, spec))++;
	else if (spec->type == OPTION_STR)
		*(char **)member_of(o, spec) = arena_strdup(o->arena,
			spec->id == OPTION_cpu_cap ? "all" : spec->initial);
	else if (spec->type == OPTION_LIST)
		vec_push((struct string_list *)member_of(o, spec), arena_strdup(o->arena, ""));
}

/* The working directory changes before files are opened: what is relative is made absolute here. */
static char *text_of(struct options *o, const struct option_spec *spec, const char *value)
{
	bool has_slash = memchr(value, '/', strcspn(value, ":"));
	bool is_path = spec->traits & TRAIT_PATH || (spec->traits & TRAIT_SLASH && has_slash) ||
		(spec->traits & TRAIT_KEYFILE && strncmp(value, "torpor-public-", 14) != 0);
	auto_free char *here = NULL;

	if (is_path && *value != '/')
		here = get_current_dir_name();
	return here ? arena_printf(o->arena, "%s/%s", here, value) : arena_strdup(o->arena, value);
}

static int apply_value(struct options *o, const struct option_spec *spec, const char *value,
	const char *where, struct err *err)
{
	int r = 0;

	if (spec->values)
		r = check_words(spec, value, where, err);
	if (r == 0 && spec->id == OPTION_close)
		r = close_now(value, where, err);
	if (r < 0)
		return r;
	switch (spec->type) {
	case OPTION_INT:
		return apply_int(member_of(o, spec), spec, value, where, err);
	case OPTION_SIZE:
		return apply_size(member_of(o, spec), value, where, err);
	case OPTION_STR:
		*(char **)member_of(o, spec) = text_of(o, spec, value);
		return 0;
	default:
		vec_push((struct string_list *)member_of(o, spec), text_of(o, spec, value));
		return 0;
	}
}

int option_apply(struct options *o, const struct option_spec *spec, const char *value, bool off,
	const char *where, struct err *err)
{
	o->given[spec->id] = true;
	if (spec->type == OPTION_FLAG) {
		if (value)
			return err_usage(err, "%s takes no argument", where);
		*(bool *)member_of(o, spec) = !off;
		/* both say what becomes of the tasks: the last one counts */
		if (spec->id == OPTION_leave_running)
			o->leave_stopped = false;
		if (spec->id == OPTION_leave_stopped)
			o->leave_running = false;
		return 0;
	}
	if (!value && !(spec->traits & TRAIT_OPTARG))
		return err_usage(err, "%s needs an argument (%s)", where, spec->arg);
	if (!value) {
		apply_missing(o, spec);
		return 0;
	}
	return apply_value(o, spec, value, where, err);
}

/* Values of the table are right by construction (every run applies all of them). */
static void apply_initial(struct options *o, const struct option_spec *spec)
{
	struct option_spec free_spec = *spec;

	free_spec.traits &= ~(unsigned int)(TRAIT_NOTNEG | TRAIT_POSITIVE);
	if (spec->type == OPTION_FLAG)
		*(bool *)member_of(o, spec) = true;
	else if (apply_value(o, &free_spec, spec->initial, spec->name, NULL) < 0)
		abort();
}

unsigned options_peer_patience(const struct options *o)
{
	const int64_t times = 6, most = 1000000;

	return (unsigned)(times * (o->timeout < most ? o->timeout : most));
}

void options_init(struct options *o)
{
	*o = (struct options){ .command = CMD_NONE, .arena = arena_new() };
	for (const struct option_spec *s = option_specs; s->name; s++)
		if (s->initial)
			apply_initial(o, s);
}

void options_done(struct options *o)
{
	for (const struct option_spec *s = option_specs; s->name; s++)
		if (s->type == OPTION_LIST)
			vec_done((struct string_list *)member_of(o, s));
	vec_done(&o->notes);
	if (o->arena)
		arena_free(o->arena);
	o->arena = NULL;
}
