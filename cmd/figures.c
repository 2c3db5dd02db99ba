/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Figures and progress. While a dump runs its target is frozen, and the target may be what keeps
 * the terminal going: so progress is written only when the terminal takes it at once (a stopped
 * one says no to poll) and when we are its foreground job (others would be stopped by SIGTTOU).
 */
#include "cmd/figures.h"
#include <poll.h>
#include <unistd.h>

void print_count(FILE *out, size_t n, const char *what)
{
	fprintf(out, "%zu %s%s", n, what, n == 1 ? "" : "s");
}

void print_size(FILE *out, uint64_t bytes)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	double n = (double)bytes;
	int unit = 0;

	for (; n >= 1024 && unit < 4; unit++)
		n /= 1024;
	fprintf(out, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

void print_seconds(FILE *out, uint64_t us)
{
	fprintf(out, "%lu.%03lu s", (unsigned long)(us / 1000000),
		(unsigned long)(us / 1000 % 1000));
}

bool wants_figures(const struct options *o)
{
	return !o->json && (!o->as_criu || isatty(STDOUT_FILENO));
}

struct progress progress_begin(const struct options *o, const char *verb)
{
	bool terminal = isatty(STDERR_FILENO) && tcgetpgrp(STDERR_FILENO) == getpgrp();
	bool asked = o->given[OPTION_progress];
	/* log lines on the same terminal would tear a line that is rewritten */
	bool rewrites = terminal && (o->log_file || o->verbosity <= 2);

	return (struct progress){ .verb = verb, .rewrites = rewrites,
		.on = asked ? o->progress : rewrites && !o->json };
}

static bool takes_output(void)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

void progress_stage(const char *name, bool done, uint64_t us, void *data)
{
	const struct progress *p = data;

	if (!p->on || !takes_output())
		return;
	if (p->rewrites && !done)
		fprintf(stderr, "\r\033[K%s: %s ...", p->verb, name);
	else if (!p->rewrites && done)
		fprintf(stderr, "%s: %s %lu.%03lu s\n", p->verb, name,
			(unsigned long)(us / 1000000), (unsigned long)(us / 1000 % 1000));
}

void progress_end(struct progress *p)
{
	if (p->on && p->rewrites && takes_output())
		fputs("\r\033[K", stderr);
	p->on = false;
}
