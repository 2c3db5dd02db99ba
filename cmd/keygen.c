/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `keygen --output FILE`: a pair of keys; the public one is printed, the secret one is in the file. */
#include "cmd/command.h"
#include "image/key_text.h"

int cmd_keygen(const struct call *call, struct err *err)
{
	return key_generate(call->o->output, stdout, err);
}
