/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the user said, from command line, configuration files and (later) RPC, all generated from
 * options.def. Strings live as long as the struct.
 *
 * Precedence: /etc/criu/default.conf, $HOME/.criu/default.conf, CRIU_CONFIG_FILE, --config FILE,
 * command line; the last one wins.
 */
#pragma once
#include "base/err.h"
#include "base/vec.h"
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct arena;

enum command {
	CMD_NONE, CMD_DUMP, CMD_PRE_DUMP, CMD_RESTORE, CMD_LAZY_PAGES, CMD_CHECK, CMD_PAGE_SERVER,
	CMD_SERVICE, CMD_SWRK, CMD_DEDUP, CMD_CPUINFO_DUMP, CMD_CPUINFO_CHECK, CMD_EXEC,
	/* torpor's own: */
	CMD_SHOW, CMD_PLAN, CMD_LEFTOVERS, CMD_KEYGEN, CMD_VERSION, CMD_HELP,
	CMD_PYTHON, /* all that cmd/python.c hands on */
};

struct string_list vec_of(char *);

/* OPTION_tree, OPTION_images_dir ...: one per member */
enum option_id {
#define OPT_FLAG(name, ...) OPTION_##name,
#define OPT_INT(name, ...) OPTION_##name,
#define OPT_SIZE(name, ...) OPTION_##name,
#define OPT_STR(name, ...) OPTION_##name,
#define OPT_LIST(name, ...) OPTION_##name,
#include "options/options.def"
	OPTION_COUNT
};

struct options {
	enum command command;
	bool as_criu; /* argv[0] was criu */
	/* one member per line of options.def: bool, int64_t, uint64_t, char * or string list */
#define OPT_FLAG(name, ...) bool name;
#define OPT_INT(name, ...) int64_t name;
#define OPT_SIZE(name, ...) uint64_t name;
#define OPT_STR(name, ...) char *name;
#define OPT_LIST(name, ...) struct string_list name;
#include "options/options.def"
	bool given[OPTION_COUNT]; /* said anywhere, or still the default; --no-X counts as said */
	char **words; /* what follows the command (show DIR) or "--" (exec-cmd); NULL at the end */
	int n_words;
	struct string_list notes; /* what to say in the log: settings without effect */
	struct arena *arena; /* every string and list item */
};

/*
 * How many seconds somebody else may be silent: a page server, who reads or brings pages, a stopped
 * task that is asked. Their disks, networks and processors are slow at times. 0: for ever.
 */
unsigned options_peer_patience(const struct options *o);
/* All defaults; nothing is said. */
void options_init(struct options *o);
void options_done(struct options *o);
/*
 * Initialises *o, then reads configuration files and command line (argv[0] included, argv is not
 * changed). After an error the struct still has what was understood, and needs options_done().
 */
int options_parse(struct options *o, int argc, char *const *argv, struct err *err) must_use;

/* Whether the program was called by the name of CRIU. */
bool options_is_criu(const char *argv0);

/* Help texts, made from the tables. CMD_NONE: all commands and the form of a call. */
void options_print_help(FILE *out, enum command command, bool as_criu);
/* A few lines: how to call, and the commands. */
void options_print_usage(FILE *out, bool as_criu);
/* The command as typed ("pre-dump"), or NULL. */
const char *options_command_name(enum command command);
/* CMD_NONE if there is no such command. */
enum command options_command_of_name(const char *name, bool as_criu);
