/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line. Two passes: the first turns argv into settings, command and words, because
 * --config must be known before anything is applied; then configuration files and settings are
 * applied in order of precedence.
 *
 * An error does not stop the first pass: what else was understood is applied, so that the log
 * file named by -o exists and holds the error. The first error is the one returned.
 */
#include "base/arena.h"
#include "options/table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct setting {
	const struct option_spec *spec;
	const char *value; /* or NULL */
	const char *where; /* as typed, for messages */
	bool off;
};

struct line {
	struct options *o;
	char *const *argv;
	int argc, at;
	struct vec_of(struct setting) settings;
	struct vec_of(char *) words; /* before "--" */
	struct err *err;
};

static void add_setting(
	struct line *l, const struct option_spec *spec, const char *value, bool off, char *where)
{
	struct setting s = { .spec = spec, .value = value, .where = where, .off = off };

	vec_push(&l->settings, s);
}

/* The argument of an option that needs one: glued, or the next word. */
static const char *argument_of(struct line *l, const struct option_spec *spec, const char *glued)
{
	if (glued || !spec->arg || spec->traits & TRAIT_OPTARG)
		return glued;
	return l->at < l->argc ? l->argv[l->at++] : NULL;
}

static int parse_long(struct line *l, const char *word)
{
	size_t len = strcspn(word, "=");
	const struct option_spec *spec;
	const char *value;
	bool off;
	int r;

	r = option_find(word, len, true, &spec, &off, l->err);
	if (r < 0)
		return r;
	value = argument_of(l, spec, word[len] ? word + len + 1 : NULL);
	add_setting(l, spec, value, off,
		arena_printf(l->o->arena, "--%s%s", off ? "no-" : "", spec->name));
	return 0;
}

/* A cluster such as -jRv4: everything behind a letter that takes an argument belongs to it. */
static int parse_letters(struct line *l, const char *word)
{
	const struct option_spec *spec;
	const char *value;

	while (*word) {
		char letter = *word++;

		spec = option_of_letter(letter);
		if (!spec)
			return err_usage(l->err, "unknown option -%c", letter);
		value = NULL;
		/* -vvv counts, -v4 sets */
		if (spec->arg && *word &&
			!(spec->traits & TRAIT_COUNT && (*word < '0' || *word > '9'))) {
			value = word;
			word += strlen(word);
		}
		value = argument_of(l, spec, value);
		add_setting(l, spec, value, false, arena_printf(l->o->arena, "-%c", letter));
	}
	return 0;
}

static void parse_words(struct line *l)
{
	while (l->at < l->argc) {
		char *word = l->argv[l->at++];
		int r = 0;

		if (!strcmp(word, "--"))
			break;
		if (word[0] == '-' && word[1] == '-')
			r = parse_long(l, word + 2);
		else if (word[0] == '-' && word[1])
			r = parse_letters(l, word + 1);
		else
			vec_push(&l->words, word);
		(void)r; /* the first error is kept in l->err */
	}
}

/* The option right before this word, if what it gets may be missing and was looked for there. */
static const struct option_spec *option_before(const struct line *l, const char *word)
{
	const struct option_spec *spec = NULL;
	struct err ignored = ERR_INIT;
	bool off;

	for (int i = 2; i < l->argc; i++) {
		const char *before = l->argv[i - 1];

		if (l->argv[i] != word || before[0] != '-')
			continue;
		if (before[1] != '-')
			spec = option_of_letter(before[1]);
		else if (option_find(before + 2, strlen(before + 2), true, &spec, &off, &ignored) < 0)
			spec = NULL;
	}
	return spec && spec->traits & TRAIT_OPTARG ? spec : NULL;
}

/* Commands whose images directory could be meant by a word; others than show and plan want -D. */
static bool takes_set(enum command command)
{
	return command == CMD_RESTORE || command == CMD_LAZY_PAGES || command == CMD_PAGE_SERVER ||
		command == CMD_DEDUP;
}

/* Whether it was on the command line, and on. */
static bool is_typed(const struct line *l, enum option_id id)
{
	vec_each(s, &l->settings)
		if (s->spec->id == id && !s->off)
			return true;
	return false;
}

/* A word that the command has no use for, and what may have been meant. */
static int refuse_word(const struct line *l, const char *command, const char *word)
{
	const struct option_spec *before = option_before(l, word);

	if (before)
		return err_usage(l->err, "'%s' does not take '%s'; as the argument of --%s it is "
			"glued to it: --%s=%s", command, word, before->name, before->name, word);
	if (l->o->command == CMD_DUMP && word[strspn(word, "0123456789")] == '\0')
		return err_usage(l->err, "'%s' does not take '%s'; the task to save is named by -t %s",
			command, word, word);
	if (takes_set(l->o->command) && !is_typed(l, OPTION_images_dir))
		return err_usage(l->err, "'%s' does not take '%s'; the images directory is named by -D "
			"%s", command, word, word);
	return err_usage(l->err, "'%s' does not take '%s'", command, word);
}

static int find_command(struct line *l, size_t *ret_used)
{
	struct options *o = l->o;
	const struct command_spec *spec;
	const char *name = l->words.at[0];

	*ret_used = 1;
	if (!strcmp(name, "cpuinfo")) {
		if (l->words.n < 2)
			return err_usage(l->err, "cpuinfo needs 'dump' or 'check' behind it");
		name = arena_printf(o->arena, "cpuinfo %s", l->words.at[1]);
		*ret_used = 2;
	}
	if (!strcmp(name, "exec") || (o->as_criu && !strcmp(name, "show"))) {
		o->command = CMD_EXEC;
		return 0;
	}
	spec = command_find(name, o->as_criu);
	if (!spec)
		return command_unknown(name, o->as_criu, l->err);
	o->command = spec->id;
	if (l->words.n - *ret_used > (size_t)spec->most_words)
		return refuse_word(l, name, l->words.at[*ret_used + (size_t)spec->most_words]);
	return 0;
}

static int take_words(struct line *l)
{
	struct options *o = l->o;
	size_t used = 0, n = 0;
	int r = 0;

	/* --exec-cmd decides what the words behind "--" are */
	if (!is_typed(l, OPTION_exec_cmd))
		while (l->at < l->argc)
			vec_push(&l->words, l->argv[l->at++]);
	if (l->words.n)
		r = find_command(l, &used);
	o->words = arena_array(o->arena, (size_t)l->argc + 2, sizeof(char *));
	for (size_t i = used; i < l->words.n; i++)
		o->words[n++] = arena_strdup(o->arena, l->words.at[i]);
	while (l->at < l->argc)
		o->words[n++] = arena_strdup(o->arena, l->argv[l->at++]);
	o->n_words = (int)n;
	return r;
}

/* `show DIR` says the same as `show -D DIR`. */
static int take_directory(struct options *o, struct err *err)
{
	if ((o->command != CMD_SHOW && o->command != CMD_PLAN) || o->n_words == 0)
		return 0;
	if (o->given[OPTION_images_dir] && strcmp(o->images_dir, o->words[0]))
		return err_usage(err, "two image directories, '%s' and '%s'", o->images_dir,
			o->words[0]);
	o->images_dir = o->words[0];
	return 0;
}

static const char *typed_value(const struct line *l, enum option_id id)
{
	const char *value = NULL;

	vec_each(s, &l->settings)
		if (s->spec->id == id)
			value = s->value;
	return value;
}

/* HOME may be that of the user who called sudo -u: then the file is not meant for this one. */
static int read_home_file(struct line *l, const char *path)
{
	int r = options_read_file(l->o, path, l->err);

	if (r != -EACCES)
		return r;
	err_clear(l->err);
	vec_push(&l->o->notes, arena_printf(l->o->arena,
		"configuration file '%s' cannot be read by this user: going on without it", path));
	return 0;
}

static int read_files(struct line *l)
{
	const char *named = typed_value(l, OPTION_config);
	const char *home = getenv("HOME"), *extra = getenv("CRIU_CONFIG_FILE");
	struct options *o = l->o;
	int r = 0;

	if (!named && !is_typed(l, OPTION_no_default_config)) {
		r = options_read_file(o, "/etc/criu/default.conf", l->err);
		if (r >= 0 && home)
			r = read_home_file(l, arena_printf(o->arena, "%s/.criu/default.conf", home));
	}
	if (r >= 0 && extra)
		r = options_read_file(o, extra, l->err);
	if (r >= 0 && named) {
		r = options_read_file(o, named, l->err);
		if (r == 0)
			vec_push(&o->notes,
				arena_printf(o->arena, "there is no configuration file '%s'", named));
	}
	return r < 0 ? r : 0;
}

static void read_environment(struct options *o)
{
	const char *libs = getenv("CRIU_LIBS_DIR");

	if (libs)
		o->libdir = arena_strdup(o->arena, libs);
	if (getenv("CRIU_DEPRECATED"))
		o->deprecated = o->given[OPTION_deprecated] = true;
}

static int apply_settings(struct line *l)
{
	int first = 0;

	vec_each(s, &l->settings) {
		int r = option_apply(l->o, s->spec, s->value, s->off, s->where, l->err);

		if (r < 0 && first == 0)
			first = r;
	}
	return first;
}

/* Other than configuration files, a command line is meant for this command. */
static void note_useless(const struct line *l)
{
	struct options *o = l->o;
	const char *name = options_command_name(o->command);
	bool is_dump = o->command == CMD_DUMP || o->command == CMD_PRE_DUMP;

	if (!name)
		return;
	vec_each(s, &l->settings)
		if (!(s->spec->commands & 1u << o->command) && s->spec->letter != 'd')
			vec_push(&o->notes,
				arena_printf(o->arena, "option %s has no effect on '%s'", s->where,
					name));
	/* where the memory goes is nothing to be mistaken about */
	if (is_dump && (is_typed(l, OPTION_address) || is_typed(l, OPTION_port)) && !o->page_server &&
		!o->lazy_pages)
		vec_push(&o->notes,
			arena_strdup(o->arena, "options --address and --port have no effect without "
				"--page-server or --lazy-pages: the memory stays in the images directory"));
}

bool options_is_criu(const char *argv0)
{
	const char *slash = argv0 ? strrchr(argv0, '/') : NULL;

	return argv0 && !strcmp(slash ? slash + 1 : argv0, "criu");
}

int options_parse(struct options *o, int argc, char *const *argv, struct err *err)
{
	struct err first = ERR_INIT;
	struct line l = { .o = o, .argv = argv, .argc = argc, .at = 1, .err = err ? err : &first };
	int r, results[4];

	options_init(o);
	o->as_criu = options_is_criu(argv[0]);
	parse_words(&l);
	results[0] = err_is_set(l.err) ? -l.err->number : 0;
	results[1] = take_words(&l);
	read_environment(o);
	results[2] = read_files(&l);
	results[3] = apply_settings(&l);
	note_useless(&l);
	vec_done(&l.settings);
	vec_done(&l.words);
	for (int i = 0; i < 4; i++)
		if (results[i] < 0)
			return results[i];
	r = take_directory(o, err);
	if (r < 0 || o->help || o->version)
		return r;
	return options_check(o, err);
}
