/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two versions: torpor's own, and that of CRIU whose command line, images and RPC it speaks.
 * Called as criu only the latter is said, because programs parse that line.
 */
#include "cmd/command.h"

#define CRIU_VERSION "4.2"

void version_print(FILE *out, bool as_criu)
{
	if (as_criu)
		fputs("Version: " CRIU_VERSION "\n", out);
	else
		fputs("torpor " TORPOR_VERSION "\n", out);
}

int cmd_version(const struct call *call, struct err *err)
{
	if (call->o->json)
		puts("{\"torpor\": \"" TORPOR_VERSION "\", \"criu\": \"" CRIU_VERSION "\"}");
	else
		version_print(stdout, call->o->as_criu);
	return 0;
}
