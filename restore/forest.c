// SPDX-License-Identifier: GPL-2.0-or-later
/* Carries the plan out: husks with pids, sessions, groups, memory; zombies and helpers end. */
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "inject/explain.h"
#include "inject/tick.h"
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

/* How long killed tasks are waited for that do not get on. */
enum { HANGING_US = 5000000, INTERRUPTED_US = 2000000 };

/* ---- pids ---- */

/* How long a task that has ended may keep its pid until its parent takes its status. */
enum { REAP_NAPS = 2000 };

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

/*
 * naps: of a millisecond, that are left for a pid to become free. They are counted, not timed: while
 * the whole machine stands still nobody can take a status.
 */
static int pid_is_free(pid_t pid, const char *what, unsigned *naps, struct err *err)
{
	pid_t parent;

	while (is_taken(pid)) {
		if (!has_ended(pid, &parent) || !*naps)
			return is_taken(pid) ? refuse_pid(pid, what, err) : 0;
		--*naps;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return 0;
}

int restore_pids(void *ctx, struct err *err)
{
	struct restore *rs = ctx;
	unsigned naps = REAP_NAPS;
	int r = 0;

	for (size_t i = 0; i < rs->plan.n_actors && r == 0; i++) {
		const struct actor *x = rs->plan.actors[i];

		if (x->pid)
			r = pid_is_free(x->pid, x->task ? task_comm(x->task) : "a group or session",
				&naps, err);
		for (size_t k = 1; x->task && k < x->task->n_threads && r == 0; k++)
			r = pid_is_free(x->task->threads[k].tid, task_comm(x->task), &naps, err);
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

/* After a fork, also a failed one: the child may exist. */
static int settle_fork(struct restore *rs, struct actor *x, int r, struct err *err)
{
	struct husk *child = &rs->husks[x->index];

	rs->husk_lives[x->index] = child->pid > 0;
	/* the creator may hold memory it was born with, before its own is built */
	rs->filled[x->index] = rs->filled[x->by->index];
	if (r == 0 && x->task && !x->inherits && rs->filled[x->index]) {
		r = husk_clear(child, err);
		rs->filled[x->index] = false;
	}
	return r;
}

/* Steps that are forks by one and the same actor. */
static int step_forks(struct restore *rs, const struct step *s, size_t n, struct err *err)
{
	struct husk_birth *births = reallocarray(NULL, n, sizeof(*births));
	struct husk **children = reallocarray(NULL, n, sizeof(struct husk *));
	int r = births && children ? 0 : err_nomem(err);

	for (size_t i = 0; i < n && r == 0; i++) {
		const struct actor *x = s[i].actor;

		births[i] = (struct husk_birth){ .pid = x->pid, .flags = x->flags };
		children[i] = &rs->husks[x->index];
	}
	if (r == 0)
		r = husk_fork_all(&rs->husks[s->actor->by->index], births, children, n, err);
	free(births);
	free(children);
	for (size_t i = 0; i < n; i++)
		r = settle_fork(rs, s[i].actor, r, err);
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

/* Steps that begin groups, or join groups which are there. */
static int step_groups(struct restore *rs, const struct step *s, size_t n, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct tape *t = tape_new();

		tape_call(t, "group", TAPE_MUST, SYS_setpgid, T(0), T(s[i].pgid));
		husk_later(&rs->queue, &rs->husks[s[i].actor->index], 0, t, NULL, NULL);
	}
	return husk_settle(&rs->queue, err);
}

static int step_subreaper(struct restore *rs, struct actor *x, struct err *err)
{
	struct tape *t = tape_new();

	tape_call(t, "subreaper", TAPE_MUST, SYS_prctl, T(PR_SET_CHILD_SUBREAPER), T(1), T(0), T(0),
		T(0));
	return play_one(&rs->husks[x->index], t, err);
}

static struct mm_build build_of(struct restore *rs, const struct actor *x)
{
	return (struct mm_build){ .world = rs->world, .task = x->task,
		.inherited = x->inherits ? x->by->task : NULL, .husk = &rs->husks[x->index],
		.images = rs->images, .files = rs->files,
		.legacies = restore_legacies(rs), .lazy = rs->o->lazy_pages,
		.mapped = rs->o->mmap,
		.vdso = &rs->vdso, .huge_always = &rs->huge_always };
}

/* Steps that give tasks their memory; what they inherit is complete. */
static int step_builds(struct restore *rs, const struct step *s, size_t n, struct err *err)
{
	struct mm_build *builds = reallocarray(NULL, n, sizeof(*builds));
	size_t done = 0, borrowed = 0;
	int r = builds ? 0 : err_nomem(err);

	while (done < n && r == 0) {
		struct actor *x = s[done].actor;
		struct mm_build *b = &builds[done++];

		*b = build_of(rs, x);
		rs->filled[x->index] = true;
		r = mm_build_later(b, &rs->queue, err);
		borrowed += b->borrowed;
		if (r == 0 && (borrowed > STORE_RECENT / 2 || rs->queue.n >= HUSK_TOGETHER)) {
			r = husk_settle(&rs->queue, err);
			borrowed = 0;
		}
	}
	if (r == 0)
		r = husk_settle(&rs->queue, err);
	husk_queue_done(&rs->queue);
	for (size_t i = 0; i < done; i++) {
		rs->figures->pages_restored += builds[i].pages_restored;
		rs->figures->pages_compared += builds[i].pages_compared;
		rs->figures->pages_skipped_cow += builds[i].pages_skipped_cow;
	}
	free(builds);
	return r;
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

/* Whether step b, which follows step a, needs nothing that comes of it. */
static bool is_independent(const struct step *a, const struct step *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case STEP_FORK:
		return a->actor->by == b->actor->by;
	case STEP_BUILD:
		return true;
	case STEP_GROUP:
		/* who has moved out of the group it led had to wait for others to join it */
		return !a->pgid == !b->pgid && !a->actor->moved && !b->actor->moved;
	default:
		return false;
	}
}

/* n steps that are independent of each other; more than one only of some kinds. */
static int step_run(struct restore *rs, const struct step *s, size_t n, struct err *err)
{
	switch (s->kind) {
	case STEP_START:
		return step_start(rs, s->actor, err);
	case STEP_FORK:
		return step_forks(rs, s, n, err);
	case STEP_SETSID:
		return step_setsid(rs, s->actor, err);
	case STEP_SUBREAPER:
		return step_subreaper(rs, s->actor, err);
	case STEP_BUILD:
		return step_builds(rs, s, n, err);
	case STEP_GROUP:
		return step_groups(rs, s, n, err);
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
	const struct step *s = rs->plan.steps;
	uint64_t start = clock_us();
	int r = 0;

	for (size_t i = 0, n; i < rs->plan.n_steps && r == 0; i += n) {
		for (n = 1; i + n < rs->plan.n_steps && is_independent(&s[i + n - 1], &s[i + n]);)
			n++;
		r = step_run(rs, &s[i], n, err);
	}
	if (r == 0)
		r = check_parents(rs, err);
	rs->figures->forking_us = clock_us() - start;
	return r;
}

/* Whether it is still there and can get on: who waits without hearing SIGKILL cannot. */
static bool is_ending(pid_t pid)
{
	auto_free char *text = NULL;
	struct err ignored = ERR_INIT;
	struct proc_stat st;

	return io_slurpf(&text, NULL, "/proc/%d/stat", pid) == 0 &&
		proc_stat_parse(text, &st, &ignored) == 0 && st.state != 'D';
}

static bool any_is_ending(const struct restore *rs)
{
	for (size_t i = 0; i < rs->n_husks; i++)
		if (rs->husk_lives[i] && is_ending(rs->husks[i].pid))
			return true;
	return false;
}

/* All ends are taken, but for those of tasks that hang in the kernel: false. */
static bool reap_all(const struct restore *rs)
{
	uint64_t since = clock_us();
	struct tick tick;
	bool all = true;

	tick_begin(&tick);
	while (all && (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)) {
		if (errno != EINTR || any_is_ending(rs))
			since = clock_us();
		all = clock_us() - since < (interrupt_came() ? INTERRUPTED_US : HANGING_US);
		errno = 0;
	}
	tick_end(&tick);
	return all;
}

static void warn_of_hanging(const struct restore *rs)
{
	char place[128];

	for (size_t i = 0; i < rs->n_husks; i++) {
		if (!rs->husk_lives[i] || kill(rs->husks[i].pid, 0) < 0)
			continue;
		explain_place(rs->husks[i].pid, place, sizeof(place));
		log_warn("task %d was killed, but ends only when the kernel does what it waits for%s%s",
			rs->husks[i].pid, *place ? ": " : "", place);
	}
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
	rs->hangs = any && !reap_all(rs);
	if (rs->hangs)
		warn_of_hanging(rs);
}
