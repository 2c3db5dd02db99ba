// SPDX-License-Identifier: GPL-2.0-or-later
#include "model/findings.h"
#include <stdarg.h>
#include <stdio.h>

void finding_add(struct findings *f, const char *rule, enum severity severity, pid_t pid,
	const char *fmt, ...)
{
	struct finding x = { .rule = rule, .severity = severity, .pid = pid };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(x.text, sizeof(x.text), fmt, ap);
	va_end(ap);
	vec_push(f, x);
}

const struct finding *findings_error(const struct findings *f)
{
	vec_each(x, f)
		if (x->severity == SEV_ERROR)
			return x;
	return NULL;
}
