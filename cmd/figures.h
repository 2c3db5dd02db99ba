/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How figures are said to people, and what is shown while they come about. */
#pragma once
#include "base/stage.h"
#include "options/options.h"
#include <stdio.h>

/* "1 task", "3 tasks" */
void print_count(FILE *out, size_t n, const char *what);
/* "45.2 MiB" */
void print_size(FILE *out, uint64_t bytes);
/* "0.043 s" */
void print_seconds(FILE *out, uint64_t us);
/* Whether a line of figures is wanted on standard output. */
bool wants_figures(const struct options *o);

/*
 * One line on standard error which names the running stage and disappears at the end; without a
 * terminal, when it is asked for, one line per stage.
 */
struct progress {
	const char *verb;
	bool on, rewrites;
};

struct progress progress_begin(const struct options *o, const char *verb);
/* A stage_watch; data is the struct progress. */
void progress_stage(const char *name, bool done, uint64_t us, void *data);
void progress_end(struct progress *p);
