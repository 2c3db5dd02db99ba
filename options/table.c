/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options.def and the commands as const tables, and how to find an entry by what a user typed:
 * the full name, a beginning of it that fits no other option, or the negative form.
 */
#include "options/table.h"
#include <stdio.h>
#include <string.h>

#define BIT(c) (1u << (c))

/* The short words of options.def */
enum {
	D = BIT(CMD_DUMP),
	P = BIT(CMD_PRE_DUMP),
	R = BIT(CMD_RESTORE),
	L = BIT(CMD_LAZY_PAGES),
	S = BIT(CMD_PAGE_SERVER),
	V = BIT(CMD_SERVICE) | BIT(CMD_SWRK),
	C = BIT(CMD_CHECK),
	X = BIT(CMD_CPUINFO_DUMP) | BIT(CMD_CPUINFO_CHECK),
	O = BIT(CMD_PLAN),
	F = BIT(CMD_LEFTOVERS),
	K = BIT(CMD_KEYGEN),
	A = 0x7fffffff,
	NO = TRAIT_NO,
	OPTARG = TRAIT_OPTARG,
	COUNT = TRAIT_COUNT,
	WORDS = TRAIT_WORDS,
	TYPED = TRAIT_TYPED,
	HIDDEN = TRAIT_HIDDEN,
	POSITIVE = TRAIT_POSITIVE,
	NOTNEG = TRAIT_NOTNEG,
	PATH = TRAIT_PATH,
	SLASH = TRAIT_SLASH,
	KEYFILE = TRAIT_KEYFILE,
};

#define SPEC(kind, member, long_name, short_name, argument, default_, cmds, traits_, state_,  \
	values_, help_)                                                                       \
	{ .name = long_name, .arg = argument, .initial = default_, .values = values_,         \
	  .help = help_, .offset = offsetof(struct options, member), .commands = cmds,        \
	  .traits = traits_, .id = OPTION_##member, .type = OPTION_##kind,                    \
	  .state = STATE_##state_, .letter = short_name },

const struct option_spec option_specs[] = {
#define OPT_GROUP(title) { .name = title, .type = OPTION_GROUP },
#define OPT_FLAG(...) SPEC(FLAG, __VA_ARGS__)
#define OPT_INT(...) SPEC(INT, __VA_ARGS__)
#define OPT_SIZE(...) SPEC(SIZE, __VA_ARGS__)
#define OPT_STR(...) SPEC(STR, __VA_ARGS__)
#define OPT_LIST(...) SPEC(LIST, __VA_ARGS__)
#define OPT_ALIAS(name, long_name, letter, arg, initial, cmds, traits, ...) \
	SPEC(FLAG, name, long_name, letter, arg, initial, cmds, (traits) | TRAIT_ALIAS, __VA_ARGS__)
#include "options/options.def"
	{ .name = NULL },
};

const struct command_spec command_specs[] = {
	{ "dump", "-t PID [options]", "save a process tree into image files", CMD_DUMP,
		STATE_READY, true, 0 },
	{ "restore", "[options]", "bring a process tree back from image files", CMD_RESTORE,
		STATE_READY, true, 0 },
	{ "check", "[--feature NAME]", "tell whether this kernel has what is needed", CMD_CHECK,
		STATE_READY, true, 0 },
	{ "show", "DIR", "print what the images of a directory hold", CMD_SHOW, STATE_READY,
		false, 1 },
	{ "plan", "DIR", "print what restore would do, without doing it", CMD_PLAN, STATE_READY,
		false, 1 },
	{ "leftovers", "[--clean] [DIR...]",
		"list what dumps left outside of their images (DIR: look for link_remap.* there, too)",
		CMD_LEFTOVERS, STATE_READY, false, 1000 },
	{ "validate", "DIR [options]", "tell whether images can be restored, and if not, why",
		CMD_PYTHON, STATE_READY, false, 0 },
	{ "facts", "[DIR]", "tell what this computer is like, for validate --target elsewhere",
		CMD_PYTHON, STATE_READY, false, 0 },
	{ "decode", "IMAGE [--pretty]", "print an image as JSON", CMD_PYTHON, STATE_READY, false, 0 },
	{ "encode", "JSON -o IMAGE", "make an image from JSON", CMD_PYTHON, STATE_READY, false, 0 },
	{ "graph", "DIR [options]", "ask for, draw or export what hangs together in an image set",
		CMD_PYTHON, STATE_READY, false, 0 },
	{ "diff", "A B", "tell what differs between two image sets or images", CMD_PYTHON,
		STATE_READY, false, 0 },
	{ "keygen", "--output FILE", "make a pair of keys for encrypted images", CMD_KEYGEN,
		STATE_READY, false, 0 },
	{ "version", NULL, "print the version", CMD_VERSION, STATE_READY, false, 0 },
	{ "help", "[COMMAND]", "print help", CMD_HELP, STATE_READY, false, 2 },
	{ "pre-dump", "-t PID [options]", "save memory while the tasks run on", CMD_PRE_DUMP,
		STATE_READY, true, 0 },
	{ "lazy-pages", "[options]", "bring memory to restored tasks when they touch it",
		CMD_LAZY_PAGES, STATE_READY, true, 0 },
	{ "page-server", "[options]", "receive pages over the network", CMD_PAGE_SERVER,
		STATE_READY, true, 0 },
	{ "service", "[options]", "serve requests on a socket", CMD_SERVICE, STATE_LATER, true, 0 },
	{ "swrk", "FD", "serve requests of one connection", CMD_SWRK, STATE_LATER, true, 1 },
	{ "dedup", "[options]", "free pages in older images that newer ones replace", CMD_DEDUP,
		STATE_READY, true, 0 },
	{ "cpuinfo dump", "[options]", "save what this processor can do", CMD_CPUINFO_DUMP,
		STATE_LATER, true, 0 },
	{ "cpuinfo check", "[options]", "compare this processor with the saved one",
		CMD_CPUINFO_CHECK, STATE_LATER, true, 0 },
	{ .name = NULL },
};

const struct command_spec *command_of(enum command id)
{
	for (const struct command_spec *c = command_specs; c->name; c++)
		if (c->id == id)
			return c;
	return NULL;
}

const struct command_spec *command_find(const char *name, bool as_criu)
{
	for (const struct command_spec *c = command_specs; c->name; c++)
		if (!strcmp(c->name, name) && (c->as_criu || !as_criu))
			return c;
	return NULL;
}

const char *options_command_name(enum command command)
{
	const struct command_spec *c = command_of(command);

	return c ? c->name : NULL;
}

enum command options_command_of_name(const char *name, bool as_criu)
{
	const struct command_spec *c = command_find(name, as_criu);

	return c ? c->id : CMD_NONE;
}

const struct option_spec *option_of_letter(char letter)
{
	for (const struct option_spec *s = option_specs; s->name; s++)
		if (s->letter && s->letter == letter)
			return s;
	return NULL;
}

enum fit { FIT_NOT, FIT_BEGINS, FIT_WHOLE };

static enum fit name_fits(const char *full, const char *typed, size_t len)
{
	if (strncmp(full, typed, len) != 0)
		return FIT_NOT;
	return full[len] ? FIT_BEGINS : FIT_WHOLE;
}

/* Whether typed is spec's name or its negative form. */
static enum fit spec_fits(const struct option_spec *s, const char *typed, size_t len, bool *ret_off)
{
	enum fit fit;

	*ret_off = false;
	fit = name_fits(s->name, typed, len);
	if (fit != FIT_NOT || !(s->traits & TRAIT_NO))
		return fit;
	if (len <= 3 || strncmp(typed, "no-", 3) != 0)
		return FIT_NOT;
	*ret_off = true;
	return name_fits(s->name, typed + 3, len - 3);
}

/* Number of letters to insert, drop or change to get from a to b, counted up to a limit. */
static unsigned int name_distance(const char *a, size_t len, const char *b)
{
	unsigned int row[64];
	size_t lb = strlen(b);

	if (lb >= 64 || len >= 64)
		return 64;
	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned int)j;
	for (size_t i = 1; i <= len; i++) {
		unsigned int corner = row[0];

		row[0] = (unsigned int)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned int change = corner + (a[i - 1] != b[j - 1]);
			unsigned int best = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

			corner = row[j];
			row[j] = change < best ? change : best;
		}
	}
	return row[lb];
}

int command_unknown(const char *name, bool as_criu, struct err *err)
{
	const struct command_spec *near = NULL;
	unsigned int best = 3;

	for (const struct command_spec *c = command_specs; c->name; c++) {
		unsigned int d = name_distance(name, strlen(name), c->name);

		if (d < best && (c->as_criu || !as_criu)) {
			best = d;
			near = c;
		}
	}
	if (near)
		return err_usage(err, "unknown command '%s' (did you mean '%s'?)", name, near->name);
	return err_usage(err, "unknown command '%s'", name);
}

static int unknown_option(const char *name, size_t len, struct err *err)
{
	const struct option_spec *near = NULL;
	unsigned int best = 3;

	for (const struct option_spec *s = option_specs; s->name; s++) {
		unsigned int d;

		if (s->type == OPTION_GROUP || s->traits & TRAIT_HIDDEN)
			continue;
		d = name_distance(name, len, s->name);
		if (d < best) {
			best = d;
			near = s;
		}
	}
	if (near)
		return err_usage(err, "unknown option --%.*s (did you mean --%s?)", (int)len, name,
			near->name);
	return err_usage(err, "unknown option --%.*s", (int)len, name);
}

/* An option that typed fits that well, after `from` (NULL: the first one). */
static const struct option_spec *next_fit(const struct option_spec *from, enum fit wanted,
	const char *typed, size_t len, bool *ret_off)
{
	for (const struct option_spec *s = from ? from + 1 : option_specs; s->name; s++)
		if (s->type != OPTION_GROUP && spec_fits(s, typed, len, ret_off) == wanted)
			return s;
	return NULL;
}

int option_find(const char *name, size_t len, bool abbreviated, const struct option_spec **ret,
	bool *ret_off, struct err *err)
{
	const struct option_spec *found, *other;
	bool off, other_off;

	if (len == 0)
		return err_usage(err, "an option has no name");
	found = next_fit(NULL, FIT_WHOLE, name, len, &off);
	if (!found && abbreviated) {
		found = next_fit(NULL, FIT_BEGINS, name, len, &off);
		other = found ? next_fit(found, FIT_BEGINS, name, len, &other_off) : NULL;
		if (other)
			return err_usage(err, "option --%.*s could be --%s%s or --%s%s", (int)len,
				name, off ? "no-" : "", found->name, other_off ? "no-" : "",
				other->name);
	}
	if (!found)
		return unknown_option(name, len, err);
	*ret = found;
	*ret_off = off;
	return 0;
}
