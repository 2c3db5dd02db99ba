/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines of the Test Anything Protocol for the programs in this folder, and parts they share. */
#pragma once
#include "base/err.h"
#include <stdio.h>

struct tap {
	int n, failed;
};

/* One line; an error that is set is told when the test failed. */
static inline void tap_ok(struct tap *t, bool good, const char *what, const struct err *err)
{
	char buf[1400] = "";

	t->n++;
	t->failed += !good;
	if (!good && err_is_set(err))
		err_text(err, buf, sizeof(buf));
	printf("%sok %d - %s%s%s\n", good ? "" : "not ", t->n, what, *buf ? ": " : "", buf);
	fflush(stdout);
}

/* The plan at the end; the exit code of main(). */
static inline int tap_done(const struct tap *t)
{
	printf("1..%d\n", t->n);
	return t->failed ? 1 : 0;
}
