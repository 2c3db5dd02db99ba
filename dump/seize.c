// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Stopping the tree, one generation after the other. A process is stopped whole (all its threads,
 * looking again until no new one appears) before its children are looked for: so a parent that
 * waits in vfork gets its child, not yet stopped, out of the way first (if the child needs others
 * to go on, while these run: seize_patiently()). All of one generation are asked to stop before the
 * first is waited for. In the end all known processes are asked for children once more, because an
 * orphan may have been handed to a subreaper meanwhile.
 */
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "dump/ctx.h"
#include "inject/seize_guard.h"
#include "kernel/proc_stat.h"
#include "kernel/proc_status.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

static int read_stat(struct proc_stat *ret, struct err *err, pid_t pid, pid_t tid)
{
	auto_free char *text = NULL;
	int r = io_slurpf(&text, NULL, "/proc/%d/task/%d/stat", pid, tid);

	if (r < 0)
		return r == -ENOENT || r == -ESRCH ?
			err_target(err, ESRCH, "there is no task %d", pid) :
			err_sysn(err, -r, "cannot read /proc/%d/stat", pid);
	return proc_stat_parse(text, ret, err);
}

struct tids vec_of(pid_t);

enum { PATIENCE_MS = 50, MOST_PATIENCE_MS = 1000 };

/* Keys of dump.seen; the value is the dump for what we have, anything else for what has ended. */
static uint64_t seen_thread(pid_t tid)
{
	return (uint64_t)tid;
}

static bool is_ours(const struct dump *d, pid_t tid)
{
	return table_get(&d->seen, seen_thread(tid)) == d;
}

/* Its number may be another one's from now on: execve(2) gives the leader's to its caller. */
static void forget_thread(struct dump *d, pid_t tid)
{
	table_put(&d->seen, seen_thread(tid), &d->seen);
}

static int list_threads(pid_t pid, struct tids *ret, struct err *err)
{
	char path[64];
	struct dirent *de;
	auto_dir DIR *dir = NULL;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? err_target(err, ESRCH, "there is no task %d", pid) :
					 err_sys(err, "cannot list the threads of task %d", pid);
	ret->n = 0;
	while ((de = readdir(dir)))
		if (isdigit((unsigned char)de->d_name[0]))
			vec_push(ret, atoi(de->d_name));
	return 0;
}

/*
 * Threads of the kernel's own in the process: they run none of its code, so they are let be (what
 * they work on is waited for by its room). A look at the name is cheap; the flags decide.
 */
static bool is_worker(pid_t tid, pid_t pid)
{
	const uint32_t io_worker = 0x10,
		       user_worker = 0x4000; /* PF_IO_WORKER, PF_USER_WORKER (6.4) */
	struct err ignored = ERR_INIT;
	struct proc_stat stat;
	char path[64], name[8] = "";
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, name, sizeof(name) - 1) < 0 ||
		(strncmp(name, "iou-", 4) != 0 && strncmp(name, "vhost-", 6) != 0))
		return false;
	return read_stat(&stat, &ignored, pid, tid) == 0 && stat.flags & (io_worker | user_worker);
}

static struct tracee_kin kin_of(const struct subject *s)
{
	return (struct tracee_kin){ s->tracees, s->n_tracees };
}

/* Room for it is in s->tracees, behind the others. */
static int seize_thread(struct dump *d, struct subject *s, pid_t tid, struct err *err)
{
	const unsigned options = PTRACE_O_TRACESYSGOOD;
	const uint64_t last = dump_deadline(d);
	const struct tracee_kin kin = kin_of(s);
	struct tracee *t = &s->tracees[s->n_tracees];
	struct err first = ERR_INIT;
	int r;

	/* filters must not see our calls; needs CAP_SYS_ADMIN, without it filtered tasks fail later */
	r = seize_guarded(d->guard, &kin, last, t, tid, s->pid, options | PTRACE_O_SUSPEND_SECCOMP,
		&first);
	if (r == -EPERM)
		r = seize_guarded(d->guard, &kin, last, t, tid, s->pid, options, err);
	else if (r < 0)
		*err = first;
	if (r < 0)
		return r;
	/* if it has ended meanwhile, its end waits to be taken like a stop */
	r = tracee_interrupt(t, err);
	if (r == -ESRCH) {
		err_clear(err);
		r = 0;
	}
	return r;
}

/* The leader, just made the last one, is the first, whenever it came. */
static void put_first(struct subject *s)
{
	struct tracee leader = s->tracees[s->n_tracees];

	s->tracees[s->n_tracees] = s->tracees[0];
	s->tracees[0] = leader;
}

/* What a pass over the threads of a process found: ours already, ours from now on, at their end. */
struct pass {
	size_t known, fresh, ended;
};

/* Threads that are new since the last pass are seized and asked to stop. */
static int seize_new_threads(struct dump *d, struct subject *s, const struct tids *tids,
	struct pass *ret, struct err *err)
{
	s->tracees = reallocarray(s->tracees, s->n_tracees + tids->n, sizeof(*s->tracees));
	if (!s->tracees)
		return err_nomem(err);
	for (size_t i = 0; i < tids->n; i++) {
		int r;

		if (s->leader_dead && tids->at[i] == s->pid)
			continue;
		if (is_ours(d, tids->at[i])) {
			ret->known++;
			continue;
		}
		if (tids->at[i] != s->pid && is_worker(tids->at[i], s->pid))
			continue;
		r = seize_thread(d, s, tids->at[i], err);
		if (r == -ESRCH) {
			err_clear(err);
			ret->ended++;
			continue;
		}
		if (r < 0)
			return r;
		table_put(&d->seen, seen_thread(tids->at[i]), d);
		if (tids->at[i] == s->pid)
			put_first(s);
		s->n_tracees++;
		ret->fresh++;
	}
	return 0;
}

uint64_t dump_deadline(const struct dump *d)
{
	return d->o->timeout > 0 ? d->start_us + 1000000ull * (unsigned)d->o->timeout : UINT64_MAX;
}

/* -EDEADLK: it waits in vfork, perhaps for one who cannot go on while we hold others. */
static int wait_thread(
	const struct dump *d, const struct subject *s, struct tracee *t, struct err *err)
{
	uint64_t last = dump_deadline(d), first = clock_us() + 1000ull * d->patience_ms;
	struct err late = ERR_INIT;
	const struct tracee_kin kin = kin_of(s);
	int r = tracee_wait_stop(t, first < last ? first : last, &kin, &late);

	if (r == -ETIMEDOUT) {
		r = vfork_refuse(s->pid, t->tid, err);
		return r < 0 ? r : tracee_wait_stop(t, last, &kin, err);
	}
	if (r < 0)
		*err = late;
	return r;
}

/* After a failure to have a thread stopped: 1 if the reason is that it ended. */
static int note_end(struct dump *d, const struct tracee *t, int failure, struct err *err)
{
	if (failure != -ESRCH)
		return failure;
	err_clear(err);
	forget_thread(d, t->tid);
	return 1;
}

/* Waits for threads that are not stopped yet, the leader last. */
static int wait_threads(struct dump *d, struct subject *s, struct err *err)
{
	for (size_t i = s->n_tracees; i-- > 0;) {
		struct tracee *t = &s->tracees[i];
		int r = t->stopped ? 0 : wait_thread(d, s, t, err);

		if (r < 0)
			r = note_end(d, t, r, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * All threads that are not known yet are asked to stop. *ret_again: there were new ones, or some
 * that ended, at which the kernel's list may break off (fs/proc/base.c next_tid()).
 */
static int ask_threads(struct dump *d, struct subject *s, bool *ret_again, struct err *err)
{
	struct tids tids = { 0 };
	struct pass p = { 0 };
	size_t had = s->n_tracees;
	int r = list_threads(s->pid, &tids, err);

	if (r == 0)
		r = seize_new_threads(d, s, &tids, &p, err);
	*ret_again = p.fresh || p.ended || p.known != had;
	vec_done(&tids);
	return r;
}

/* Those that were stopped are still so, or ended, which others may do to them: *ret_again. */
static int check_threads(struct dump *d, struct subject *s, bool *ret_again, struct err *err)
{
	const struct tracee_kin kin = kin_of(s);

	for (size_t i = s->n_tracees; i-- > 0;) {
		struct tracee *t = &s->tracees[i];
		int r = t->stopped ? tracee_still_stopped(t, dump_deadline(d), &kin, err) : 0;

		if (r < 0)
			r = note_end(d, t, r, err);
		if (r < 0)
			return r;
		*ret_again |= r > 0;
	}
	return 0;
}

/* Who has ended is no longer among the threads. */
static int drop_ended(struct subject *s, struct err *err)
{
	struct proc_stat stat;
	size_t kept = 0;
	int r = 0;

	for (size_t i = 0; i < s->n_tracees; i++)
		if (s->tracees[i].seized)
			s->tracees[kept++] = s->tracees[i];
	s->n_tracees = kept;
	/* another one may be the leader by now, who is not ours yet */
	if (kept && s->tracees[0].tid != s->pid) {
		r = read_stat(&stat, err, s->pid, s->pid);
		if (r == 0)
			s->leader_dead = stat.state == 'Z' || stat.state == 'X';
	}
	return r;
}

static int check_time(const struct dump *d, const struct subject *s, struct err *err)
{
	if (clock_us() > dump_deadline(d))
		return err_target(err, ETIMEDOUT, "task %d did not come to rest within --timeout",
			s->pid);
	return interrupt_check(err);
}

/*
 * Waits until all threads that were asked are stopped, also those they made meanwhile. It is done
 * when the kernel's list has no other thread, and after that all are still stopped: then nobody is
 * left who could end or make any. -ESRCH: nobody is left who could be stopped.
 */
static int stop_threads(struct dump *d, struct subject *s, struct err *err)
{
	bool again = true;
	int r = 0;

	while (r == 0 && again) {
		r = wait_threads(d, s, err);
		if (r == 0)
			r = ask_threads(d, s, &again, err);
		if (r == 0)
			r = check_threads(d, s, &again, err);
		if (r == 0)
			r = drop_ended(s, err);
		if (r == 0 && !s->n_tracees)
			r = err_target(err, ESRCH, "task %d has ended", s->pid);
		if (r == 0 && again)
			r = check_time(d, s, err);
	}
	return r;
}

/* Fills in what kind of process it is: alive, zombie, or alive with a dead leader. */
static int subject_look(struct subject *s, struct err *err)
{
	struct tids tids = { 0 };
	struct proc_stat stat;
	int r = read_stat(&stat, err, s->pid, s->pid);

	if (r == 0)
		r = list_threads(s->pid, &tids, err);
	if (r == 0) {
		bool dead = stat.state == 'Z' || stat.state == 'X';

		s->ppid = stat.ppid;
		s->zombie = dead && tids.n <= 1;
		s->leader_dead = dead && tids.n > 1;
	}
	vec_done(&tids);
	return r;
}

static void drop_threads(struct dump *d, struct subject *s)
{
	for (size_t i = 0; i < s->n_tracees; i++)
		forget_thread(d, s->tracees[i].tid);
	s->n_tracees = 0;
}

/*
 * What became of a process that could not be stopped: 0 if it ended meanwhile, as a whole (a zombie
 * from now on, or gone) or only its leader. Any other failure stays one.
 */
static int judge_failure(struct dump *d, struct subject *s, int failure, struct err *err)
{
	struct err second = ERR_INIT;
	bool was_dead = s->leader_dead;
	int r;

	if (failure != -ESRCH && failure != -EPERM)
		return failure;
	r = subject_look(s, &second);
	s->gone = r == -ESRCH;
	if (!s->gone && r < 0)
		return failure;
	if (failure == -EPERM && !s->gone && !s->zombie && s->leader_dead == was_dead)
		return failure;
	if (s->gone || s->zombie)
		drop_threads(d, s);
	err_clear(err);
	return 0;
}

/* Takes the process in and asks it to stop. -ESRCH: it is gone, and so not among the subjects. */
static int add_subject(struct dump *d, pid_t pid, struct err *err)
{
	struct subject s = { .pid = pid };
	bool again;
	int r = subject_look(&s, err);

	if (r < 0)
		return r;
	table_put(&d->seen, seen_process(pid), d);
	vec_push(&d->subjects, s);
	if (s.zombie)
		return 0;
	r = ask_threads(d, &d->subjects.at[d->subjects.n - 1], &again, err);
	return r < 0 ? judge_failure(d, &d->subjects.at[d->subjects.n - 1], r, err) : 0;
}

/* One that ends meanwhile is looked at again until it is stopped, a zombie, or gone. */
static int settle_subject(struct dump *d, struct subject *s, struct err *err)
{
	const struct timespec moment = { .tv_nsec = 100000 };
	int r;

	while (!s->zombie && !s->gone) {
		r = stop_threads(d, s, err);
		if (r == 0)
			return 0;
		r = judge_failure(d, s, r, err);
		if (r < 0)
			return r;
		r = check_time(d, s, err);
		if (r < 0)
			return r;
		nanosleep(&moment, NULL);
	}
	return 0;
}

/* From subject `first` on. */
static int settle(struct dump *d, size_t first, struct err *err)
{
	int r = 0;

	for (size_t i = first; i < d->subjects.n && r == 0; i++)
		r = settle_subject(d, &d->subjects.at[i], err);
	return r;
}

/* Children of one stopped thread that are not known yet. */
static int add_children(struct dump *d, pid_t pid, pid_t tid, struct err *err)
{
	auto_free char *text = NULL;
	struct cursor c;
	uint32_t child;
	int r = io_slurpf(&text, NULL, "/proc/%d/task/%d/children", pid, tid);

	if (r < 0)
		return err_sysn(err, -r,
			"cannot list the children of task %d (the kernel needs "
			"CONFIG_PROC_CHILDREN)", pid);
	c = cursor_of(text);
	for (parse_blanks(&c); parse_u32(&c, 10, &child); parse_blanks(&c)) {
		if (table_get(&d->seen, seen_process((pid_t)child)))
			continue;
		r = add_subject(d, (pid_t)child, err);
		if (r == -ESRCH) { /* ended meanwhile and was reaped */
			err_clear(err);
			r = 0;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * Asks subjects from `first` on, all stopped, for children, and stops these, generation by
 * generation; 1 if any new process came.
 */
static int sweep(struct dump *d, size_t first, struct err *err)
{
	size_t begin = d->subjects.n;
	int r = 0;

	for (size_t end = begin; first < end && r == 0; first = end, end = d->subjects.n) {
		for (size_t i = first; i < end && r == 0; i++)
			for (size_t k = 0; k < d->subjects.at[i].n_tracees && r == 0; k++)
				r = add_children(d, d->subjects.at[i].pid,
					d->subjects.at[i].tracees[k].tid, err);
		if (r == 0)
			r = settle(d, end, err);
	}
	return r < 0 ? r : d->subjects.n != begin;
}

/* Processes that vanished on the way. */
static void drop_gone(struct dump *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->subjects.n; i++) {
		if (d->subjects.at[i].gone)
			free(d->subjects.at[i].tracees);
		else
			d->subjects.at[kept++] = d->subjects.at[i];
	}
	d->subjects.n = kept;
}

static int seize_tree(struct dump *d, struct err *err)
{
	pid_t root = (pid_t)d->o->tree;
	int r = add_subject(d, root, err);

	if (r == 0)
		r = settle(d, 0, err);
	if (r < 0)
		return r;
	if (d->subjects.at[0].gone)
		return err_target(err, ESRCH, "there is no task %d", root);
	if (d->subjects.at[0].zombie)
		return err_target(err, ESRCH, "task %d is a zombie: there is nothing to dump", root);
	do {
		r = sweep(d, 0, err);
	} while (r > 0);
	return r;
}

/* What is not stopped stays ours: tracee_seize() takes it as it is. */
static void let_all_go(struct dump *d)
{
	dump_unseize(d);
	vec_each(s, &d->subjects)
		free(s->tracees);
	d->subjects.n = 0;
	table_done(&d->seen);
}

/*
 * Where a thread waits in vfork for one that cannot go on because we hold others, patience does not
 * help: all run for as long as they were held, then it begins again, with more patience. The thread
 * itself stays asked to stop, which it does on its way out of vfork, so it cannot be in the next
 * one.
 */
static int seize_patiently(struct dump *d, struct err *err)
{
	uint64_t until = dump_deadline(d);
	struct err why = ERR_INIT;
	int r;

	d->patience_ms = PATIENCE_MS;
	while ((r = seize_tree(d, err)) == -EDEADLK &&
		clock_us() + 2000ull * d->patience_ms < until) {
		log_info("%s: trying again", err->text);
		why = *err;
		err_clear(err);
		let_all_go(d);
		nanosleep(&(struct timespec){ .tv_sec = d->patience_ms / 1000,
				  .tv_nsec = d->patience_ms % 1000 * 1000000l },
			NULL);
		if (d->patience_ms < MOST_PATIENCE_MS)
			d->patience_ms *= 2;
	}
	/* a last try that came too late for anybody says less than the one before */
	if (r == -ETIMEDOUT && err_is_set(&why)) {
		*err = why;
		r = -EDEADLK;
	}
	return r;
}

/*
 * -t takes a process of programs: what else has a number in /proc is refused here, where it can be said
 * what it is. The number of any thread leads to its process there.
 */
static int refuse_others(pid_t pid, struct err *err)
{
	const uint32_t of_kernel = 0x200000; /* PF_KTHREAD */
	auto_free char *text = NULL;
	struct err ignored = ERR_INIT;
	struct proc_status status;
	struct proc_stat stat;

	if (read_stat(&stat, &ignored, pid, pid) == 0 && stat.flags & of_kernel)
		return err_unsupported(err, "task %d is a thread of the kernel, which is no program", pid);
	if (io_slurpf(&text, NULL, "/proc/%d/status", pid) < 0 ||
		proc_status_parse(text, &status, &ignored) < 0 || status.tgid == pid)
		return 0;
	return err_usage(err, "%d is a thread of process %d: -t %d saves it", pid, status.tgid,
		status.tgid);
}

int dump_seize(void *ctx, struct err *err)
{
	struct dump *d = ctx;
	int r;

	if (d->o->tree == getpid())
		return err_usage(err, "torpor cannot dump itself (pid %d)", getpid());
	r = refuse_others((pid_t)d->o->tree, err);
	if (r < 0)
		return r;
	r = seize_guard_new(&d->guard, err);
	if (r < 0)
		return r;
	r = seize_patiently(d, err);
	seize_guard_free(d->guard);
	if (r < 0)
		return r;
	drop_gone(d);
	d->seized_us = clock_us();
	vec_each(s, &d->subjects)
		d->n_threads += s->n_tracees;
	log_info("stopped %zu tasks with %zu threads in %lu us", d->subjects.n, d->n_threads,
		(unsigned long)(d->seized_us - d->start_us));
	return 0;
}

void dump_unseize(void *ctx)
{
	struct dump *d = ctx;

	vec_each(s, &d->subjects)
		for (size_t i = 0; i < s->n_tracees; i++)
			tracee_release(&s->tracees[i]);
}
