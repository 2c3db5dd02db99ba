// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of what exists but cannot be kept: refused with a sentence, so that nothing is lost
 * silently. A landlock domain and a core scheduling cookie cannot be seen at all.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/ptrace.h"
#include "kinds/task/family.h"
#include <string.h>
#include <unistd.h>

static int refuse_tracer(const struct look *l, const struct proc_status *st, struct err *err)
{
	char who[THREAD_NAME];

	if (!st->tracer || st->tracer == getpid() || st->tracer == gettid())
		return 0;
	return err_unsupported(err, "%s is being traced by process %d; end that first",
		thread_name(l->thread, who, sizeof(who)), st->tracer);
}

static int refuse_dispatch(const struct look *l, struct err *err)
{
	struct user_dispatch d = { 0 };
	char who[THREAD_NAME];

	if (ptrace_get_user_dispatch(l->tid, &d) < 0 || !d.mode)
		return 0;
	return err_unsupported(err, "%s uses syscall user dispatch, which cannot be saved yet",
		thread_name(l->thread, who, sizeof(who)));
}

/* Label of a security module without its end, "" where there is none. */
static char *label_of(const char *path)
{
	char *text;

	if (io_slurp(path, &text, NULL) < 0)
		return strdup("");
	text[strcspn(text, "\n")] = 0;
	return text;
}

/* The restored task inherits torpor's own label; another one would be lost. */
static int refuse_label(const struct look *l, struct err *err)
{
	auto_free char *text = NULL, *ours = NULL;
	char who[THREAD_NAME];

	if (io_slurp_at(l->proc, "attr/current", &text, NULL) < 0)
		return 0;
	text[strcspn(text, "\n")] = 0;
	if (!*text || !strcmp(text, "unconfined"))
		return 0;
	ours = label_of("/proc/self/attr/current");
	if (ours && !strcmp(text, ours))
		return 0;
	return err_unsupported(err,
		"%s is confined by the security label '%s', which cannot be saved yet",
		thread_name(l->thread, who, sizeof(who)), text);
}

static int obstacles_look(struct look *l, struct err *err)
{
	struct proc_status st;
	char who[THREAD_NAME];
	int r = look_status(l, &st, err);

	if (r == 0)
		r = refuse_tracer(l, &st, err);
	if (r == 0 && st.shadow_stack)
		r = err_unsupported(err, "%s uses a shadow stack, which cannot be saved yet",
			thread_name(l->thread, who, sizeof(who)));
	if (r == 0)
		r = refuse_dispatch(l, err);
	if (r == 0)
		r = refuse_label(l, err);
	return r;
}

const struct facet facet_obstacles = {
	.name = "obstacles",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.look = obstacles_look,
};
