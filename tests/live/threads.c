/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * threads: what each thread has for itself: id, name, signal mask, thread variables, alternate
 * stack (one is on it), policy, nice value, affinity, timer slack, io priority.
 */
#include "subject.h"
#include <linux/ioprio.h>
#include <pthread.h>

enum { N = 6 };

/* What can be compared before and after. */
struct traits {
	struct self self;
	stack_t alt;
	struct sched_param param;
	int policy, nice, ioprio, slack;
	cpu_set_t cpus;
	unsigned long tp;
};

static pthread_t threads[N];
static __thread uint64_t tls_word;
static __thread uint64_t tls_block[32];
static volatile int up, go, on_alt;

static void traits_note(struct traits *t)
{
	memset(t, 0, sizeof(*t));
	self_note(&t->self, false);
	NEED(sigaltstack(NULL, &t->alt) == 0);
	t->policy = sched_getscheduler(0);
	NEED(sched_getparam(0, &t->param) == 0);
	t->nice = getpriority(PRIO_PROCESS, 0);
	t->ioprio = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0);
	t->slack = prctl(PR_GET_TIMERSLACK);
	NEED(sched_getaffinity(0, sizeof(t->cpus), &t->cpus) == 0);
	t->tp = (unsigned long)__builtin_thread_pointer();
}

static void traits_check(const struct traits *t)
{
	struct traits n;

	self_check(&t->self);
	traits_note(&n);
	CHECK(n.alt.ss_sp == t->alt.ss_sp && n.alt.ss_size == t->alt.ss_size);
	SAME(n.alt.ss_flags, t->alt.ss_flags);
	SAME(n.policy, t->policy);
	SAME(n.param.sched_priority, t->param.sched_priority);
	SAME(n.nice, t->nice);
	SAME(n.ioprio, t->ioprio);
	SAME(n.slack, t->slack);
	CHECK(CPU_EQUAL(&n.cpus, &t->cpus));
	CHECK(n.tp == t->tp);
}

static void set_schedule(int i)
{
	static const int policies[N] = { SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR,
		SCHED_OTHER | SCHED_RESET_ON_FORK };
	struct sched_param param = { .sched_priority = i == 3 || i == 4 ? i : 0 };
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(i % 2 ? sysconf(_SC_NPROCESSORS_ONLN) - 1 : 0, &cpus);
	if (i < 4)
		sched_setaffinity(0, sizeof(cpus), &cpus);
	NEED(setpriority(PRIO_PROCESS, 0, 2 * i - 3) == 0);
	/* real time may be denied in a cgroup without a share of it */
	if (sched_setscheduler(0, policies[i], &param) < 0)
		NEED(errno == EPERM && i >= 3);
	NEED(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		     i % 3 ? IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, i) :
			     IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)) == 0);
	NEED(prctl(PR_SET_TIMERSLACK, 60000 + 1000 * i) == 0);
}

static void on_usr1(int sig, siginfo_t *si, void *uc)
{
	struct traits t;

	(void)sig, (void)si, (void)uc;
	traits_note(&t);
	NEED(t.alt.ss_flags == SS_ONSTACK);
	on_alt = 1;
	__sync_fetch_and_add(&up, 1);
	while (!go)
		usleep(1000);
	traits_check(&t);
	CHECK((char *)&t >= (char *)t.alt.ss_sp && (char *)&t < (char *)t.alt.ss_sp + t.alt.ss_size);
}

static void *work(void *arg)
{
	int i = (intptr_t)arg;
	stack_t alt = { .ss_sp = malloc(65536 + 4096 * i), .ss_size = 65536 + 4096 * i };
	struct traits t;
	sigset_t set;
	char name[16];

	tls_word = 0x1111111111111111u * (i + 1);
	fill(tls_block, sizeof(tls_block), i);
	if (i != 1)
		NEED(alt.ss_sp && sigaltstack(&alt, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGRTMIN + i);
	NEED(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
	snprintf(name, sizeof(name), "worker-%d-%c", i, "a)( \n;"[i]);
	NEED(prctl(PR_SET_NAME, name) == 0);
	set_schedule(i);
	traits_note(&t);
	if (i == 0)
		NEED(pthread_kill(pthread_self(), SIGUSR1) == 0);
	else
		__sync_fetch_and_add(&up, 1);
	while (!go)
		usleep(1000);
	traits_check(&t);
	CHECK(tls_word == 0x1111111111111111u * (i + 1));
	CHECK(holds(tls_block, sizeof(tls_block), i));
	if (i == 1)
		SAME(t.alt.ss_flags, SS_DISABLE);
	return (void *)(intptr_t)(i + 50);
}

int main(int argc, char **argv)
{
	struct traits t;
	void *ret;

	subject_init(argc, argv);
	handle(SIGUSR1, on_usr1, SA_ONSTACK);
	for (intptr_t i = 0; i < N; i++)
		NEED(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
	while (up < N)
		usleep(1000);
	traits_note(&t);
	ready();
	wait_term();
	traits_check(&t);
	CHECK(on_alt == 1);
	go = 1;
	for (int i = 0; i < N; i++) {
		CHECK(pthread_join(threads[i], &ret) == 0);
		SAME((intptr_t)ret, i + 50);
	}
	pass();
}
