/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What checks found out about a world: id of the rule, severity, object, sentence. */
#pragma once
#include "base/vec.h"
#include <sys/types.h>

enum severity { SEV_NOTE, SEV_WARNING, SEV_ERROR };

struct finding {
	const char *rule; /* literal: "file-dangling-id" */
	enum severity severity;
	pid_t pid; /* 0: the whole set */
	char text[240];
};

struct findings vec_of(struct finding);

void finding_add(struct findings *f, const char *rule, enum severity severity, pid_t pid,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* First one of severity error, or NULL. */
const struct finding *findings_error(const struct findings *f);
