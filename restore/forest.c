// SPDX-License-Identifier: GPL-2.0-or-later
/* Carries the plan out: husks with pids, sessions, groups, memory; zombies and helpers end. */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "kernel/proc_stat.h"
#include "kinds/mem/mm.h"
#include "restore/ctx.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/* ---- pids ---- */

/* How long a task that has ended may keep its pid until its parent takes its status. */
enum { REAP_US = 2000000 };

static bool is_taken(pid_t pid)
{
	return kill(pid, 0) == 0 || errno != ESRCH;
}

/* A dump returns when its tasks have ended; their pids are free only when parents reaped them. */
static bool has_ended(pid_t pid, pid_t *ret_parent)
{
	auto_free char *text = NULL;
	struct err ignored = ERR_INIT;
	struct proc_stat st;

	if (io_slurpf(&text, NULL, "/proc/%d/stat", pid) < 0 ||
		proc_stat_parse(text, &st, &ignored) < 0 || st.state != 'Z')
		return false;
	*ret_parent = st.ppid;
	return true;
}

static int refuse_pid(pid_t pid, const char *what, struct err *err)
{
	auto_free char *comm = NULL;
	pid_t parent;

	if (has_ended(pid, &parent))
		return err_target(err, EEXIST,
			"pid %d, which the images have for %s, is still kept by a task that has "
			"ended; its parent, process %d, has not taken its status yet", pid, what, parent);
	if (io_slurpf(&comm, NULL, "/proc/%d/comm", pid) < 0)
		return err_target(err, EEXIST, "pid %d (%s) is in use", pid, what);
	comm[strcspn(comm, "\n")] = 0;
	return err_target(err, EEXIST,
		"pid %d, which the images have for %s, is in use by '%s'; restore into a new pid "
		"namespace or wait until it is free", pid, what, comm);
}

/* `until`: time on clock_us() up to which a pid may still become free. */
static int pid_is_free(pid_t pid, const char *what, uint64_t until, struct err *err)
{
	pid_t parent;

	while (is_taken(pid)) {
		if (!has_ended(pid, &parent) || clock_us() > until)
			return is_taken(pid) ? refuse_pid(pid, what, err) : 0;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return 0;
}

int restore_pids(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	uint64_t until = clock_us() + REAP_US;
	int r = 0;

	for (size_t i = 0; i < rs->plan.n_actors && r == 0; i++) {
		const struct actor *x = rs->plan.actors[i];

		if (x->pid)
			r = pid_is_free(x->pid, x->task ? task_comm(x->task) : "a group or session",
				until, err);
		for (size_t k = 1; x->task && k < x->task->n_threads && r == 0; k++)
			r = pid_is_free(x->task->threads[k].tid, task_comm(x->task), until, err);
	}
	return r;
}

/* ---- steps ---- */

static int play_one(struct husk *h, struct tape *t, struct err *err)
{
	int r = husk_play(h, 0, t, err);

	tape_free(t);
	return r;
}

static int step_start(struct restore *rs, struct actor *x, struct err *err)
{
	int r = husk_start(&rs->husks[x->index], &rs->layout, x->pid, rs->o->restore_sibling, err);

	rs->husk_lives[x->index] = rs->husks[x->index].pid > 0;
	return r;
}

static int step_fork(struct restore *rs, struct actor *x, struct err *err)
{
	struct husk_birth birth = { .pid = x->pid, .flags = x->flags };
	struct husk *child = &rs->husks[x->index];
	int r = husk_fork(&rs->husks[x->by->index], &birth, child, err);

	rs->husk_lives[x->index] = child->pid > 0;
	/* the creator may hold memory it was born with, before its own is built */
	rs->filled[x->index] = rs->filled[x->by->index];
	if (r == 0 && x->task && !x->inherits && rs->filled[x->index]) {
		r = husk_clear(child, err);
		rs->filled[x->index] = false;
	}
	return r;
}

static int step_setsid(struct restore *rs, struct actor *x, struct err *err)
{
	struct tape *t = tape_new();
	int r;

	tape_call0(t, "session", TAPE_MUST, SYS_setsid);
	r = play_one(&rs->husks[x->index], t, err);
	if (r == 0 && x->task && task_is_alive(x->task))
		r = file_store_lead(rs->files, x->task, err);
	return r;
}

static int step_group(struct restore *rs, struct actor *x, pid_t pgid, struct err *err)
{
	struct tape *t = tape_new();

	tape_call(t, "group", TAPE_MUST, SYS_setpgid, T(0), T(pgid));
	return play_one(&rs->husks[x->index], t, err);
}

static int step_subreaper(struct restore *rs, struct actor *x, struct err *err)
{
	struct tape *t = tape_new();

	tape_call(t, "subreaper", TAPE_MUST, SYS_prctl, T(PR_SET_CHILD_SUBREAPER), T(1), T(0), T(0),
		T(0));
	return play_one(&rs->husks[x->index], t, err);
}

static int step_build(struct restore *rs, struct actor *x, struct err *err)
{
	struct mm_build b = { .world = rs->world, .task = x->task,
		.inherited = x->inherits ? x->by->task : NULL, .husk = &rs->husks[x->index],
		.images = rs->images, .files = rs->files,
		.legacies = restore_legacies(rs), .lazy = rs->o->lazy_pages,
		.mapped = rs->o->mmap,
		.vdso = &rs->vdso };
	int r = mm_build(&b, err);

	rs->filled[x->index] = true;
	rs->figures->pages_restored += b.pages_restored;
	rs->figures->pages_compared += b.pages_compared;
	rs->figures->pages_skipped_cow += b.pages_skipped_cow;
	if (r < 0)
		return err_while(err, "restoring the memory of task %d (%s)", x->pid,
			task_comm(x->task));
	return 0;
}

static void husk_gone(struct restore *rs, struct actor *x)
{
	husk_done(&rs->husks[x->index]);
	rs->husk_lives[x->index] = false;
}

/* The parent forgets a child's death: it has a SIGCHLD pending that never was in its life. */
static void tape_forget_death(struct tape *t)
{
	uint64_t set = 1ull << (SIGCHLD - 1);
	struct timespec zero = { 0 };

	tape_call(t, "reap", 0, SYS_rt_sigtimedwait, T_DATA(tape_data(t, &set, sizeof(set))), T(0),
		T_DATA(tape_data(t, &zero, sizeof(zero))), T(8));
}

static int step_end(struct restore *rs, struct actor *x, struct err *err)
{
	pid_t pid = rs->husks[x->index].pid;
	struct tape *t;
	int r = husk_exit(&rs->husks[x->index], 0, 0, err);

	if (r < 0)
		return r;
	husk_gone(rs, x);
	t = tape_new();
	tape_call(t, "reap", TAPE_MUST, SYS_wait4, T(pid), T(0), T(0x40000000 /* __WALL */), T(0));
	tape_forget_death(t);
	return play_one(&rs->husks[x->parent->index], t, err);
}

static void tape_name(struct tape *t, const char *comm)
{
	tape_call(t, "comm", TAPE_MUST, SYS_prctl, T(PR_SET_NAME),
		T_DATA(tape_data(t, comm, strlen(comm) + 1)), T(0), T(0), T(0));
}

static int step_die(struct restore *rs, struct actor *x, struct err *err)
{
	uint32_t status = x->task->threads[0].core->tc->exit_code;
	struct husk *h = &rs->husks[x->index];
	struct rlimit no_core = { 0, 0 };
	struct tape *t = tape_new();
	int r;

	tape_name(t, task_comm(x->task));
	tape_call(t, "zombie", TAPE_MUST, SYS_prlimit64, T(0), T(RLIMIT_CORE),
		T_DATA(tape_data(t, &no_core, sizeof(no_core))), T(0));
	r = play_one(h, t, err);
	if (r == 0)
		r = husk_exit(h, (int)(status >> 8 & 0xff), (int)(status & 0x7f), err);
	if (r < 0)
		return r;
	husk_gone(rs, x);
	if (!x->parent)
		return 0;
	t = tape_new();
	tape_forget_death(t);
	return play_one(&rs->husks[x->parent->index], t, err);
}

static int step_run(struct restore *rs, const struct step *s, struct err *err)
{
	switch (s->kind) {
	case STEP_START:
		return step_start(rs, s->actor, err);
	case STEP_FORK:
		return step_fork(rs, s->actor, err);
	case STEP_SETSID:
		return step_setsid(rs, s->actor, err);
	case STEP_SUBREAPER:
		return step_subreaper(rs, s->actor, err);
	case STEP_BUILD:
		return step_build(rs, s->actor, err);
	case STEP_GROUP:
		return step_group(rs, s->actor, s->pgid, err);
	case STEP_END:
		return step_end(rs, s->actor, err);
	case STEP_DIE:
		return step_die(rs, s->actor, err);
	}
	return err_bug(err, "unknown step");
}

/* Orphans must have fallen to the right parent; who is alive is compared. */
static int check_parents(struct restore *rs, struct err *err)
{
	for (size_t i = 0; i < rs->world->n_tasks; i++) {
		const struct actor *x = rs->plan.actors[i];
		auto_free char *text = NULL;
		struct proc_stat st;

		if (!x->parent || x->by == x->parent)
			continue;
		if (io_slurpf(&text, NULL, "/proc/%d/stat", rs->husks[i].pid) < 0 ||
			proc_stat_parse(text, &st, NULL) < 0)
			return err_target(err, ESRCH, "task %d vanished", x->pid);
		if (st.ppid != rs->husks[x->parent->index].pid)
			return err_unsupported(err,
				"task %d (%s) got process %d as its parent instead of %d", x->pid,
				task_comm(x->task), st.ppid, x->parent->pid);
	}
	return 0;
}

int restore_forest(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	uint64_t start = clock_us();
	int r = 0;

	for (size_t i = 0; i < rs->plan.n_steps && r == 0; i++)
		r = step_run(rs, &rs->plan.steps[i], err);
	if (r == 0)
		r = check_parents(rs, err);
	rs->figures->forking_us = clock_us() - start;
	return r;
}

static void reap_all(void)
{
	while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
		continue;
}

/* Undo of the forest. SIGKILL to every husk, then all ends are taken. */
void restore_kill(void *ctx)
{
	struct restore *rs = ctx;
	bool any = false;

	for (size_t i = 0; i < rs->n_husks; i++) {
		if (!rs->husk_lives[i])
			continue;
		if (kill(rs->husks[i].pid, SIGKILL) < 0 && errno != ESRCH)
			log_warn("task %d cannot be killed, it stays", rs->husks[i].pid);
		husk_done(&rs->husks[i]);
		any = true;
	}
	if (any)
		reap_all();
}
