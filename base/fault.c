// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/fault.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

int fault_point(const char *name, struct err *err)
{
	const char *armed = getenv("TORPOR_FAULT");
	size_t n = strlen(name);

	if (!armed || strncmp(armed, name, n))
		return 0;
	if (!strcmp(armed + n, "=kill"))
		raise(SIGKILL);
	if (!strcmp(armed + n, "=stop"))
		raise(SIGSTOP);
	if (armed[n])
		return 0;
	return err_set(err, ERR_KERNEL, EIO, "injected fault at '%s'", name);
}
