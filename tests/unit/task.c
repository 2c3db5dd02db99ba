// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All task facets in both directions. Subject A sets an unusual state up; it is looked at and
 * asked. Subject B, a plain fork with the same address space, is told all of it (it plays the
 * rendered tapes itself, as plain calls) and then looked at and asked, too: both images must be
 * equal.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "inject/hold.h"
#include "kernel/ptrace.h"
#include "kinds/task/family.h"
#include "player/layout.h"
#include "tests/unit/patience.h"
#include "tests/unit/tap.h"
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	TAPE_ROOM = 1024 * 1024,
	MAX_FACETS = 64,
	TRACE_OPTIONS = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP,
};

/* Where tapes lie for B: shared, at one address in all processes. */
struct desk {
	uint64_t entries; /* bytes */
	uint8_t tape[TAPE_ROOM];
};

/* A subject and how it looks. */
struct view {
	pid_t pid;
	struct world *world;
	struct thread *thread;
	struct tracee tracee;
};

#define need(x)                                                            \
	do {                                                               \
		if ((x) < 0) {                                             \
			fprintf(stderr, "subject: %s: %m\n", #x);          \
			_exit(99);                                         \
		}                                                          \
	} while (0)

/* ---- subject A ---- */

static uint8_t alt_stack[65536];

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
}

static void set_signals(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };
	stack_t ss = { .ss_sp = alt_stack, .ss_size = sizeof(alt_stack) };
	union sigval v = { .sival_int = 77 };
	sigset_t all;

	sigfillset(&all);
	sigaddset(&sa.sa_mask, SIGUSR2);
	need(sigaction(SIGUSR1, &sa, NULL));
	need(sigaction(SIGRTMIN + 3, &sa, NULL));
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	need(sigaction(SIGURG, &sa, NULL));
	need(signal(SIGHUP, SIG_IGN) == SIG_ERR ? -1 : 0);
	need(sigaltstack(&ss, NULL));
	need(sigprocmask(SIG_SETMASK, &all, NULL));
	need(raise(SIGUSR1));
	need(kill(getpid(), SIGUSR2));
	for (v.sival_int = 100; v.sival_int < 103; v.sival_int++)
		need(sigqueue(getpid(), SIGRTMIN + 3, v));
	need(sigqueue(getpid(), SIGURG, v));
	need(raise(SIGCHLD));
}

static void set_timers(void)
{
	struct itimerval it = { .it_interval = { 7, 8 }, .it_value = { 5000, 9 } };
	struct itimerspec ts = { .it_interval = { 11, 12 }, .it_value = { 6000, 0 } };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 3 };
	int id;

	need(setitimer(ITIMER_REAL, &it, NULL));
	need(setitimer(ITIMER_PROF, &it, NULL));
	ev.sigev_value.sival_ptr = (void *)0x1234567890ul;
	need(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	need(syscall(SYS_timer_delete, id));
	need(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
	need(syscall(SYS_timer_settime, id, 0, &ts, NULL));
	ev.sigev_notify = SIGEV_THREAD_ID;
	ev._sigev_un._tid = gettid();
	need(syscall(SYS_timer_create, CLOCK_REALTIME, &ev, &id));
	ev.sigev_notify = SIGEV_NONE;
	need(syscall(SYS_timer_create, CLOCK_PROCESS_CPUTIME_ID, &ev, &id));
	need(syscall(SYS_timer_settime, id, 0, &ts, NULL));
}

static void set_limit(int which, rlim_t cur, rlim_t max)
{
	struct rlimit r = { cur, max };

	need(setrlimit((__rlimit_resource_t)which, &r));
}

static void set_misc(void)
{
	cpu_set_t one;
	int cpu = 0, fd = open("/proc/self/oom_score_adj", O_WRONLY);
	struct sched_param zero = { 0 };

	need(fd);
	need(write(fd, "300", 3));
	close(fd);
	/* the first that we may use */
	need(sched_getaffinity(0, sizeof(one), &one));
	while (!CPU_ISSET(cpu, &one))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	need(sched_setaffinity(0, sizeof(one), &one));
	need(setpriority(PRIO_PROCESS, 0, 5));
	need(sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &zero));
	need(syscall(SYS_ioprio_set, 1, 0, 2 << 13 | 6));
	need(prctl(PR_SET_TIMERSLACK, 12345));
	need(prctl(PR_SET_NAME, "odd) (name"));
	need(prctl(PR_SET_CHILD_SUBREAPER, 1));
	need(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	need(syscall(SYS_membarrier, 16, 0, 0));
	need(personality(ADDR_NO_RANDOMIZE));
	set_limit(RLIMIT_NOFILE, 100, 200);
	set_limit(RLIMIT_CORE, 0, 0);
	set_limit(RLIMIT_SIGPENDING, 500, 600);
	set_limit(RLIMIT_STACK, 1 << 20, RLIM_INFINITY);
}

static void set_caps(uint32_t eff, uint32_t prm, uint32_t inh)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { eff, prm, inh } };

	need(syscall(SYS_capget, &head, d));
	if (eff == ~0u)
		d[0].inheritable = inh;
	else
		d[0] = (struct __user_cap_data_struct){ eff, prm, inh };
	if (eff != ~0u)
		d[1] = (struct __user_cap_data_struct){ 0 };
	need(syscall(SYS_capset, &head, d));
}

static void set_creds(void)
{
	const gid_t groups[] = { 5, 50, 70000 };
	uint32_t inh = 1 << CAP_NET_RAW | 1 << CAP_SETPCAP;

	need(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS));
	set_caps(~0u, ~0u, inh);
	need(prctl(PR_CAPBSET_DROP, CAP_NET_RAW, 0, 0, 0));
	need(prctl(PR_CAPBSET_DROP, CAP_MKNOD, 0, 0, 0));
	need(syscall(SYS_setgroups, 3, groups));
	need(syscall(SYS_setresgid, 2001, 2002, 2003));
	need(syscall(SYS_setresuid, 1001, 1002, 1003));
	syscall(SYS_setfsuid, 1001);
	need(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0));
	need(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_KEEP_CAPS |
		SECBIT_NO_CAP_AMBIENT_RAISE));
	set_caps(1 << CAP_CHOWN, 1 << CAP_CHOWN | 1 << CAP_NET_RAW, inh);
	need(prctl(PR_SET_PDEATHSIG, SIGRTMIN + 9));
	need(prctl(PR_SET_DUMPABLE, 1));
}

static void set_filters(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_swapoff, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 33),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { 4, code };

	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
	code[1].k = SYS_swapon;
	need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &prog));
}

/* Values in AVX and x87 registers, then waits without touching them. */
static void set_registers_and_wait(int ready)
{
	static uint8_t ymm[16][32];
	static uint16_t cw = 0x27f;
	unsigned a, b, c = 0, d;
	long n;

	for (int i = 0; i < 16 * 32; i++)
		ymm[i / 32][i % 32] = (uint8_t)(i * 7 + 3);
	need(write(ready, "r", 1));
	__get_cpuid(1, &a, &b, &c, &d);
	if (c & bit_AVX)
		__asm__ volatile("vmovdqu 0(%0), %%ymm0\n vmovdqu 96(%0), %%ymm3\n"
				 "vmovdqu 480(%0), %%ymm15\n" ::"r"(ymm)
				 : "xmm0", "xmm3", "xmm15");
	__asm__ volatile("fldcw %0\n fldpi\n" ::"m"(cw));
	for (;;)
		__asm__ volatile("syscall" : "=a"(n) : "a"(SYS_pause) : "rcx", "r11", "memory");
}

static void subject_a(int ready)
{
	set_misc();
	set_timers();
	set_signals();
	set_creds();
	set_filters();
	set_registers_and_wait(ready);
}

/* ---- subject B: plays what lies on the desk ---- */

static long call(const uint64_t *a, uint64_t nr)
{
	register uint64_t r10 __asm__("r10") = a[3];
	register uint64_t r8 __asm__("r8") = a[4];
	register uint64_t r9 __asm__("r9") = a[5];
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static void play(struct desk *desk)
{
	for (uint64_t at = 0; at < desk->entries; at += ENTRY_SIZE) {
		uint8_t *e = desk->tape + at;
		uint64_t args[6], nr;
		uint32_t flags, loads;
		int64_t result;

		memcpy(&nr, e + ENTRY_NR, 8);
		memcpy(args, e + ENTRY_ARGS, sizeof(args));
		memcpy(&flags, e + ENTRY_FLAGS, 4);
		memcpy(&loads, e + ENTRY_LOADS, 4);
		for (int i = 0; i < 6; i++)
			if (loads >> i & 1)
				memcpy(&args[i], (void *)args[i], 8);
		result = call(args, nr);
		memcpy(e + ENTRY_RESULT, &result, 8);
		if (flags & ENTRY_MUST && result < 0 && result > -4096)
			break;
	}
}

static void subject_b(struct desk *desk, int order, int ready)
{
	sigset_t all;
	char byte;

	if (__rseq_size)
		need(syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, 32, 1,
			0x53053053));
	sigfillset(&all);
	need(sigprocmask(SIG_SETMASK, &all, NULL));
	need(write(ready, "r", 1));
	while (read(order, &byte, 1) == 1) {
		play(desk);
		need(write(ready, "r", 1));
	}
	_exit(98);
}

/* ---- looking ---- */

/* Memory has a test of its own. */
static bool is_ours(const struct facet *f)
{
	return strcmp(f->name, "mm") != 0;
}

static int stop(struct view *v, struct err *err)
{
	int r = tracee_seize(&v->tracee, v->pid, v->pid, TRACE_OPTIONS, err);

	if (r == 0)
		r = tracee_interrupt(&v->tracee, err);
	return r < 0 ? r : tracee_wait_stop(&v->tracee, patience_ends(), NULL, err);
}

static int look_all(struct view *v, struct look *l, struct err *err)
{
	int r = regs_look(l, &v->tracee.regs, err);

	for (size_t f = 0; facets[f] && r == 0; f++)
		if (facets[f]->look && is_ours(facets[f]))
			r = facets[f]->look(l, err);
	return r;
}

static int ask_all(struct view *v, struct look *l, struct err *err)
{
	struct tape *t = tape_new();
	struct cue cues[MAX_FACETS];
	struct hold h;
	int r = hold_begin(&h, &(struct tracee *){ &v->tracee }, 1, 0, err);

	if (r == 0) {
		for (size_t f = 0; facets[f] && r == 0; f++)
			if (facets[f]->ask && is_ours(facets[f]))
				r = facets[f]->ask(t, l, &cues[f], err);
		if (r == 0)
			r = hold_play(&(struct hold_turn){ .h = &h, .t = &v->tracee, .tape = t }, 1,
				err);
		for (size_t f = 0; facets[f] && r == 0; f++)
			if (facets[f]->learn && is_ours(facets[f]))
				r = facets[f]->learn(t, l, &cues[f], err);
		hold_end(&h, 1);
		for (size_t f = 0; facets[f] && r == 0; f++)
			if (facets[f]->review && is_ours(facets[f]))
				r = facets[f]->review(l, err);
	}
	tape_free(t);
	return r;
}

static int view_make(struct view *v, struct err *err)
{
	struct task *task;
	int r;

	v->world = world_new();
	r = world_add_task(v->world, NULL, v->pid, 1, &task, err);
	if (r < 0)
		return r;
	v->thread = &task->threads[0];
	v->thread->real = v->pid;
	return 0;
}

/* The subject is stopped. */
static int view_fill(struct view *v, struct err *err)
{
	auto_free char *status = NULL, *stat = NULL;
	auto_close int proc = -1;
	char path[64];
	struct look l;
	int r = view_make(v, err);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/task/%d", v->pid, v->pid);
	proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (io_slurp_at(proc, "status", &status, NULL) < 0 ||
		io_slurp_at(proc, "stat", &stat, NULL) < 0)
		return err_bug(err, "cannot read %s", path);
	l = (struct look){ .world = v->world, .thread = v->thread, .tid = v->pid, .tgid = v->pid,
		.proc = proc, .status = status, .stat = stat };
	r = look_all(v, &l, err);
	l.asked_us = clock_us();
	return r < 0 ? r : ask_all(v, &l, err);
}

/* ---- telling ---- */

struct stage_b {
	struct desk *desk;
	int order, ready; /* our ends */
	struct arise a;
};

static int tell_phase(struct stage_b *b, enum phase p, struct err *err)
{
	struct tape *t = tape_new();
	char byte;
	int r = 0;

	for (size_t f = 0; facets[f] && r == 0; f++)
		if (facets[f]->tell && is_ours(facets[f]) && facets[f]->phase == p)
			r = facets[f]->tell(t, &b->a, err);
	if (r == 0 && tape_size(t) > TAPE_ROOM)
		r = err_bug(err, "tape of %zu bytes", tape_size(t));
	if (r == 0) {
		tape_render(t, (uint64_t)(uintptr_t)b->desk->tape, b->desk->tape);
		b->desk->entries = tape_entries_len(t);
		if (write(b->order, "o", 1) != 1 || read(b->ready, &byte, 1) != 1)
			r = err_bug(err, "subject B is gone");
		tape_learn(t, b->desk->tape);
	}
	if (r == 0)
		r = tape_check(t, b->a.tid, err);
	tape_free(t);
	for (size_t f = 0; facets[f] && r == 0; f++)
		if (facets[f]->set && is_ours(facets[f]) && facets[f]->phase == p)
			r = facets[f]->set(&b->a, err);
	return r;
}

/* ---- comparing ---- */

static bool same(const void *x, const void *y)
{
	const ProtobufCMessage *a = x, *b = y;
	auto_free uint8_t *pa = NULL, *pb = NULL;
	size_t n;

	if (!a || !b)
		return a == b;
	n = protobuf_c_message_get_packed_size(a);
	if (n != protobuf_c_message_get_packed_size(b))
		return false;
	pa = malloc(n + 1);
	pb = malloc(n + 1);
	protobuf_c_message_pack(a, pa);
	protobuf_c_message_pack(b, pb);
	return !memcmp(pa, pb, n);
}

/* What runs on its own or names the subject is made equal. */
static void settle(struct view *v)
{
	TaskTimersEntry *e = v->thread->core->tc->timers;

	v->thread->core->thread_info->gpregs->orig_ax = 0;
	v->thread->core->tc->flags = 0;
	if (e->real->vsec > 4900)
		e->real->vsec = e->real->vusec = 1;
	if (e->prof->vsec > 4900)
		e->prof->vsec = e->prof->vusec = 1;
	for (size_t i = 0; i < e->n_posix; i++) {
		if (e->posix[i]->vsec > 5900)
			e->posix[i]->vsec = e->posix[i]->vnsec = 1;
		if (e->posix[i]->has_notify_thread_id && e->posix[i]->notify_thread_id == v->pid)
			e->posix[i]->notify_thread_id = 1;
	}
	v->thread->task->extra->pid = 0;
}

static void compare_task(struct tap *t, const struct view *a, const struct view *b)
{
	TaskCoreEntry *x = a->thread->core->tc, *y = b->thread->core->tc;
	bool acts = x->n_sigactions == 62 && y->n_sigactions == 62;

	for (size_t i = 0; acts && i < 62; i++)
		acts = same(x->sigactions[i], y->sigactions[i]);
	tap_ok(t, acts, "signal actions", NULL);
	tap_ok(t, same(x->timers->real, y->timers->real) && same(x->timers->prof, y->timers->prof) &&
		x->timers->real->isec == 7, "interval timers", NULL);
	acts = x->timers->n_posix == 3 && y->timers->n_posix == 3;
	for (size_t i = 0; acts && i < 3; i++)
		acts = same(x->timers->posix[i], y->timers->posix[i]);
	tap_ok(t, acts, "posix timers", NULL);
	tap_ok(t, same(x->rlimits, y->rlimits) && x->rlimits->rlimits[RLIMIT_NOFILE]->cur == 100,
		"resource limits", NULL);
	tap_ok(t, same(x->signals_s, y->signals_s) && x->signals_s->n_signals == 5,
		"shared pending signals", NULL);
	tap_ok(t, x->blk_sigset == y->blk_sigset && x->blk_sigset, "signal mask", NULL);
	tap_ok(t, x->oom_score_adj == 300 && y->oom_score_adj == 300 && x->child_subreaper &&
		y->child_subreaper, "oom score, subreaper", NULL);
	tap_ok(t, x->membarrier_registration_mask == 16 && y->membarrier_registration_mask == 16,
		"membarrier", NULL);
	tap_ok(t, same(x, y), "the rest of the task", NULL);
	tap_ok(t, same(a->thread->task->extra, b->thread->task->extra) &&
		a->thread->task->extra->personality == ADDR_NO_RANDOMIZE &&
		a->thread->task->extra->mce_kill == PR_MCE_KILL_EARLY, "own message of the task",
		NULL);
	tap_ok(t, a->thread->task->mm->dumpable == 1 && b->thread->task->mm->dumpable == 1,
		"dumpable", NULL);
}

/* The second one was installed with the flag LOG; both are common to all threads. */
static bool filters_are_in_order(const SeccompEntry *e)
{
	return e->n_seccomp_filters == 2 && !e->seccomp_filters[0]->has_prev &&
		e->seccomp_filters[0]->flags == SECCOMP_FILTER_FLAG_TSYNC &&
		e->seccomp_filters[1]->has_prev && e->seccomp_filters[1]->prev == 0 &&
		e->seccomp_filters[1]->flags ==
		(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG);
}

static void compare_thread(struct tap *t, const struct view *a, const struct view *b)
{
	ThreadCoreEntry *x = a->thread->core->thread_core, *y = b->thread->core->thread_core;
	ThreadInfoX86 *i = a->thread->core->thread_info, *j = b->thread->core->thread_info;
	const CredsEntry *c = x->creds;

	tap_ok(t, same(x->creds, y->creds), "credentials", NULL);
	tap_ok(t, c->fsuid == 1001 && c->euid == 1002 && c->n_groups == 3 && c->n_cap_amb &&
		c->cap_amb[0] == 1 << CAP_NET_RAW && !(c->cap_bnd[0] >> CAP_NET_RAW & 1) &&
		c->no_new_privs, "credentials are the unusual ones", NULL);
	tap_ok(t, same(x->sas, y->sas) && x->sas->ss_size == sizeof(alt_stack), "alternate stack",
		NULL);
	tap_ok(t, same(x->signals_p, y->signals_p) && x->signals_p->n_signals == 2,
		"private pending signals", NULL);
	tap_ok(t, same(x->rseq_entry, y->rseq_entry), "rseq", NULL);
	tap_ok(t, x->sched_policy == (SCHED_BATCH | 0x40000000) && x->sched_nice == 5 &&
		x->sched_policy == y->sched_policy && x->sched_nice == y->sched_nice, "scheduling",
		NULL);
	tap_ok(t, !strcmp(x->comm, "odd) (name") && !strcmp(y->comm, x->comm), "name", NULL);
	tap_ok(t, x->seccomp_mode == SECCOMP_MODE__filter && x->seccomp_filter == 1 &&
		y->seccomp_filter == 1, "seccomp mode", NULL);
	tap_ok(t, same(x, y), "the rest of the thread", NULL);
	tap_ok(t, same(i->gpregs, j->gpregs), "general registers", NULL);
	tap_ok(t, same(i->fpregs, j->fpregs) && i->fpregs->cwd == 0x27f, "extended registers", NULL);
	tap_ok(t, i->clear_tid_addr && same(i, j), "clear_child_tid", NULL);
	a->thread->extra->tid = b->thread->extra->tid = 0;
	tap_ok(t, same(a->thread->extra, b->thread->extra) && a->thread->extra->has_affinity &&
		a->thread->extra->timerslack_ns == 12345 &&
		a->thread->extra->ioprio == (2 << 13 | 6), "own message of the thread", NULL);
	tap_ok(t, filters_are_in_order(a->world->entries[IMG_SECCOMP].at[0]->msg),
		"seccomp filters stand from old to new", NULL);
	tap_ok(t, same(a->world->entries[IMG_SECCOMP].at[0]->msg,
		b->world->entries[IMG_SECCOMP].at[0]->msg), "seccomp filters", NULL);
}

/* ---- the runs ---- */

static pid_t spawn(void (*body)(struct desk *, int, int), struct desk *desk, int *ret_order,
	int *ret_ready)
{
	int order[2], ready[2];
	char byte;
	pid_t pid;

	if (pipe(order) < 0 || pipe(ready) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		close(order[1]);
		close(ready[0]);
		body(desk, order[0], ready[1]);
		_exit(97);
	}
	close(order[0]);
	close(ready[1]);
	*ret_order = order[1];
	*ret_ready = ready[0];
	return pid > 0 && read(ready[0], &byte, 1) == 1 ? pid : -1;
}

static void body_a(struct desk *desk, int order, int ready)
{
	subject_a(ready);
}

static bool check_clean(const struct view *v)
{
	struct findings f = { 0 };
	bool clean;

	for (size_t i = 0; facets[i]; i++)
		if (facets[i]->check && is_ours(facets[i]))
			facets[i]->check(v->world, v->thread, &f);
	clean = !f.n;
	if (!clean)
		fprintf(stderr, "finding: %s\n", f.at[0].text);
	vec_done(&f);
	return clean;
}

static int tell_all(struct tap *t, struct stage_b *b, struct view *v, struct err *err)
{
	static const char *const names[] = { "early phase", "task phase", "thread phase",
		"credentials phase", "last phase" };
	int r = 0;

	for (enum phase p = PHASE_EARLY; p <= PHASE_LAST && r == 0; p++) {
		/* filters must not see the calls after them */
		if (p == PHASE_LAST) {
			r = tracee_seize(&v->tracee, v->pid, v->pid, TRACE_OPTIONS, err);
			if (r < 0)
				break;
		}
		r = tell_phase(b, p, err);
		tap_ok(t, r == 0, names[p], err);
	}
	if (r == 0)
		r = tracee_interrupt(&v->tracee, err);
	if (r == 0)
		r = tracee_wait_stop(&v->tracee, patience_ends(), NULL, err);
	if (r == 0) {
		r = regs_set(&b->a, err);
		tap_ok(t, r == 0, "registers, mask, late signals", err);
	}
	if (r == 0 && ptrace_get_regs(v->pid, &v->tracee.regs) < 0)
		r = err_bug(err, "no registers");
	if (r == 0 && ptrace_get_sigmask(v->pid, &v->tracee.sigmask) < 0)
		r = err_bug(err, "no mask");
	return r;
}

static void run(struct tap *t, struct desk *desk)
{
	struct view a = { 0 }, b = { 0 };
	struct stage_b sb = { .desk = desk };
	struct err err = ERR_INIT;
	int order, ready, r;

	a.pid = spawn(body_a, desk, &order, &ready);
	b.pid = spawn(subject_b, desk, &sb.order, &sb.ready);
	tap_ok(t, a.pid > 0 && b.pid > 0, "subjects are ready", NULL);
	if (a.pid < 0 || b.pid < 0)
		return;
	tap_ok(t, sleeps_in_call(a.pid, SYS_pause), "subject A has set its registers", NULL);
	r = stop(&a, &err);
	if (r == 0)
		r = view_fill(&a, &err);
	tap_ok(t, r == 0, "subject A is looked at and asked", &err);
	if (r == 0) {
		tap_ok(t, check_clean(&a), "its image has no findings", NULL);
		for (size_t i = 0; i < a.thread->core->tc->timers->n_posix; i++)
			if (a.thread->core->tc->timers->posix[i]->has_notify_thread_id)
				a.thread->core->tc->timers->posix[i]->notify_thread_id = b.pid;
		sb.a = (struct arise){ .world = a.world, .thread = a.thread, .tid = b.pid,
			.tgid = b.pid };
		r = tell_all(t, &sb, &b, &err);
		if (r == 0)
			r = view_fill(&b, &err);
		tap_ok(t, r == 0, "subject B is told, looked at and asked", &err);
	}
	if (r == 0) {
		for (size_t i = 0; i < a.thread->core->tc->timers->n_posix; i++)
			if (a.thread->core->tc->timers->posix[i]->has_notify_thread_id)
				a.thread->core->tc->timers->posix[i]->notify_thread_id = a.pid;
		settle(&a);
		settle(&b);
		compare_task(t, &a, &b);
		compare_thread(t, &a, &b);
	}
	kill(a.pid, SIGKILL);
	kill(b.pid, SIGKILL);
	waitpid(a.pid, NULL, 0);
	waitpid(b.pid, NULL, 0);
	world_free(a.world);
	world_free(b.world);
}

int main(void)
{
	struct tap t = { 0 };
	struct desk *desk = mmap(NULL, sizeof(*desk), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (geteuid()) {
		printf("1..0 # SKIP needs root\n");
		return 0;
	}
	run(&t, desk);
	return tap_done(&t);
}
