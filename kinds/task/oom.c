// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the out-of-memory score: /proc/PID/oom_score_adj. Below the least value a task ever had
 * it goes only with CAP_SYS_RESOURCE; then the task keeps what it has, with a warning.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int read_score(pid_t tgid, int64_t *ret)
{
	auto_free char *text = NULL;
	struct cursor c;
	int r = io_slurpf(&text, NULL, "/proc/%d/oom_score_adj", tgid);

	if (r < 0)
		return r;
	c = cursor_of(text);
	return parse_i64(&c, ret) && *ret >= -1000 && *ret <= 1000 ? 0 : -EINVAL;
}

static int oom_look(struct look *l, struct err *err)
{
	TaskCoreEntry *tc = own_tc(l);
	int64_t score;
	int r = read_score(l->tgid, &score);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sysn(err, -r, "cannot read the oom score of task %d", l->tgid);
	tc->has_oom_score_adj = true;
	tc->oom_score_adj = (int32_t)score;
	return 0;
}

static void oom_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const TaskCoreEntry *tc = tc_of(th);

	if (tc && tc->has_oom_score_adj && (tc->oom_score_adj < -1000 || tc->oom_score_adj > 1000))
		finding_add(f, "oom-score", SEV_ERROR, th->task->pid,
			"oom score %d of task %d is out of range", tc->oom_score_adj,
			th->task->pid);
}

/* Ours, which husks are born with; what no task has where it cannot be read. */
static int64_t our_score(const struct arise *a)
{
	int64_t *ours = a->ours ? table_get(a->ours, (uintptr_t)&facet_oom) : NULL;

	if (ours)
		return *ours;
	ours = arena_new_of(a->world->arena, int64_t);
	if (read_score(getpid(), ours) < 0)
		*ours = INT64_MAX;
	if (a->ours)
		table_put(a->ours, (uintptr_t)&facet_oom, ours);
	return *ours;
}

static int oom_set(const struct arise *a, struct err *err)
{
	const TaskCoreEntry *tc = tc_of(a->thread);
	char path[64], text[16];
	int r;

	if (!tc || !tc->has_oom_score_adj || tc->oom_score_adj == our_score(a))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", a->tgid);
	snprintf(text, sizeof(text), "%d", tc->oom_score_adj);
	r = io_put(path, text);
	if (r < 0)
		log_warn("oom score of task %d cannot become %d (%s), it stays as it is",
			a->thread->task->pid, tc->oom_score_adj, strerror(-r));
	return 0;
}

const struct facet facet_oom = {
	.name = "oom-score",
	.scope = PER_TASK,
	.phase = PHASE_TASK,
	.look = oom_look,
	.check = oom_check,
	.set = oom_set,
};
