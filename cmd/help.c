/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `torpor help [COMMAND]` says the same as `torpor [COMMAND] --help`. */
#include "base/arena.h"
#include "cmd/command.h"
#include <stdio.h>

int cmd_help(const struct call *call, struct err *err)
{
	const struct options *o = call->o;
	enum command command = CMD_NONE;
	const char *name = NULL;

	if (o->n_words == 1)
		name = o->words[0];
	else if (o->n_words == 2)
		name = arena_printf(o->arena, "%s %s", o->words[0], o->words[1]);
	if (name)
		command = options_command_of_name(name, o->as_criu);
	if (name && command == CMD_NONE)
		return err_usage(err, "unknown command '%s'", name);
	options_print_help(stdout, command, o->as_criu);
	return 0;
}
