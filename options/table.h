/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tables of options and commands as data, for the parser, the help texts and (later) RPC.
 * Both are const; the option table is options.def and nothing else.
 */
#pragma once
#include "options/options.h"
#include <stddef.h>

enum option_type { OPTION_GROUP, OPTION_FLAG, OPTION_INT, OPTION_SIZE, OPTION_STR, OPTION_LIST };

enum option_trait {
	TRAIT_NO = 1, /* has a --no- form */
	TRAIT_OPTARG = 2, /* the argument may be missing, else it is glued */
	TRAIT_COUNT = 4, /* every use without argument adds one */
	TRAIT_WORDS = 8, /* a list of words, each may have ^ before it */
	TRAIT_TYPED = 16, /* command line only */
	TRAIT_HIDDEN = 32, /* not in help texts */
	TRAIT_POSITIVE = 64,
	TRAIT_NOTNEG = 128,
	TRAIT_ALIAS = 256, /* second name of another option's member */
	TRAIT_PATH = 512, /* relative to the directory torpor was called in */
	TRAIT_SLASH = 1024, /* a path if there is a slash before the first colon */
	TRAIT_KEYFILE = 2048, /* a path unless it begins with "torpor-public-" */
};

enum readiness { STATE_READY, STATE_LATER };

struct option_spec {
	const char *name; /* of a group: its title */
	const char *arg; /* NULL: a flag */
	const char *initial; /* as a user would write it, or NULL */
	const char *values; /* allowed words, those after ';' are known but not there yet */
	const char *help;
	size_t offset; /* of the member in struct options */
	unsigned int commands; /* bits 1 << enum command */
	unsigned int traits;
	enum option_id id;
	enum option_type type;
	enum readiness state;
	char letter;
};

struct command_spec {
	const char *name;
	const char *words; /* what follows it in help texts, or NULL */
	const char *help;
	enum command id;
	enum readiness state;
	bool as_criu; /* also known when called as criu */
	int most_words;
};

/* Ends with an entry without name; groups are entries without member. */
extern const struct option_spec option_specs[];
extern const struct command_spec command_specs[];

/* The spec of that name (up to len bytes), or of a unique beginning of it; *ret_off tells --no-X. */
int option_find(const char *name, size_t len, bool abbreviated, const struct option_spec **ret,
	bool *ret_off, struct err *err) must_use;
/* The spec with this letter or NULL. */
const struct option_spec *option_of_letter(char letter);
/* NULL if there is none. */
const struct command_spec *command_of(enum command id);
const struct command_spec *command_find(const char *name, bool as_criu);
/* Refuses a name that command_find() does not know, with the one it is nearest to. */
int command_unknown(const char *name, bool as_criu, struct err *err);

/*
 * Applies one setting: value is NULL where none was given, off means --no-X. `where` is the
 * setting as a user wrote it ("--tree", "-t"), for messages.
 */
int option_apply(struct options *o, const struct option_spec *spec, const char *value, bool off,
	const char *where, struct err *err) must_use;
/* Reads one configuration file; one that does not exist is no failure. Returns 1 if it was there. */
int options_read_file(struct options *o, const char *path, struct err *err) must_use;
/* What must hold between settings, command and what this version can do. */
int options_check(struct options *o, struct err *err) must_use;
