/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * busy: the target of the kill harness. Its threads verify themselves all the time: registers kept
 * through short spins, a checksum computed twice, system calls that block and are interrupted by a
 * timer's signals, handlers on an alternate stack, signal masks. Each counts its rounds in the
 * shared file "beats", so that a thread which hangs is seen from outside. Any mistake is a FAIL.
 */
#include "registers.h"
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>

enum { SPIN0, SPIN1, SUM, PIPE_A, PIPE_B, SLEEP, FUTEX, MASK, THREADS, SIGNALS = THREADS, BEATS };

static volatile uint64_t *beats;
static int there[2], back[2];
static volatile int futex_word;
static struct registers regs[2];
static sigset_t masks[THREADS];

static void masks_same(int i)
{
	sigset_t set;

	CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0);
	for (int n = 1; n <= 64; n++)
		if (sigismember(&set, n) != sigismember(&masks[i], n))
			fail("signal %d in the mask of thread %d is %d", n, i, sigismember(&set, n));
}

static void spin(int i)
{
	const char *bad;

	registers_fill(&regs[i], beats[i] * 7 + i);
	registers_spin(&regs[i], 3000);
	bad = registers_differ(&regs[i]);
	if (bad)
		fail("%s of thread %d has changed", bad, i);
}

/* The same chain in two places with other instructions between; both must agree. */
static void checksum(void)
{
	static uint64_t memory[4096];
	static uint64_t chain = 88172645463325252u, copy = 88172645463325252u;
	uint64_t a = 0, b = 0;

	for (int i = 0; i < 4096; i++) {
		chain = pattern_next(chain);
		memory[i] = chain;
		a += chain * (i + 1);
	}
	for (int i = 0; i < 4096; i++) {
		copy = pattern_next(copy);
		b += memory[i] * (i + 1);
	}
	if (a != b || chain != copy)
		fail("checksum %lx is not %lx", a, b);
}

static void ping(void)
{
	uint64_t v = beats[PIPE_A], got = 0;
	ssize_t n;

	CHECK(write(there[1], &v, 8) == 8);
	n = read(back[0], &got, 8); /* the handler has SA_RESTART */
	if (n != 8 || got != v + 1)
		fail("read gives %zd (%s), value %lu, not %lu", n, strerror(errno), got, v + 1);
}

static void pong(void)
{
	uint64_t v = 0;
	ssize_t n = read(there[0], &v, 8);

	if (n != 8)
		fail("read gives %zd (%s)", n, strerror(errno));
	v++;
	CHECK(write(back[1], &v, 8) == 8);
}

static void sleep_a_bit(void)
{
	struct timespec ts = { 0, 300000 };
	double start = now();

	if (nanosleep(&ts, NULL) == 0)
		CHECK(now() - start >= 0.0003);
	else
		CHECK(errno == EINTR);
}

static void wait_futex(void)
{
	struct timespec ts = { 0, 200000 };
	long r = syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, &ts);

	CHECK(r == -1 && (errno == ETIMEDOUT || errno == EINTR));
}

static void on_timer(int sig, siginfo_t *si, void *uc)
{
	int saved = errno;

	(void)uc;
	if (sig != SIGALRM || si->si_signo != SIGALRM)
		fail("the handler runs for signal %d", sig);
	__sync_fetch_and_add(&beats[SIGNALS], 1);
	errno = saved;
}

static void once(int i)
{
	switch (i) {
	case SPIN0:
	case SPIN1:
		spin(i);
		break;
	case SUM:
		checksum();
		break;
	case PIPE_A:
		ping();
		break;
	case PIPE_B:
		pong();
		break;
	case SLEEP:
		sleep_a_bit();
		break;
	case FUTEX:
		wait_futex();
		break;
	case MASK:
		usleep(100);
		break;
	}
}

static void *work(void *arg)
{
	int i = (intptr_t)arg;
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };
	sigset_t set;

	NEED(alt.ss_sp && sigaltstack(&alt, NULL) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGRTMIN + i);
	if (i % 3 == 2)
		sigaddset(&set, SIGALRM);
	NEED(pthread_sigmask(SIG_SETMASK, &set, NULL) == 0);
	NEED(pthread_sigmask(SIG_BLOCK, NULL, &masks[i]) == 0);
	while (!subject_term || i == PIPE_A || i == PIPE_B) {
		once(i);
		masks_same(i);
		__sync_fetch_and_add(&beats[i], 1);
		if (subject_term && i == PIPE_A)
			break;
	}
	return NULL;
}

/* A child on its own, with the same pages. */
static void kid(void *arg)
{
	(void)arg;
	child_up();
	while (!subject_term) {
		sigset_t none;
		struct timespec ts = { 0, 1000000 };

		sigemptyset(&none);
		spin(1);
		ppoll(NULL, 0, &ts, &none);
	}
}

int main(int argc, char **argv)
{
	struct timespec tick = { 0, 700000 };
	struct itimerspec every = { tick, tick };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	pthread_t t[THREADS];
	timer_t timer;
	uint64_t *pages;
	pid_t pid;

	subject_init(argc, argv);
	beats = beats_begin();
	pages = map(4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	fill(pages, 4 << 20, 31);
	NEED(pipe(there) == 0 && pipe(back) == 0);
	handle(SIGALRM, on_timer, SA_RESTART | SA_ONSTACK);
	pid = child(kid, NULL);
	for (intptr_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&t[i], NULL, work, (void *)i) == 0);
	NEED(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
	NEED(timer_settime(timer, 0, &every, NULL) == 0);
	ready();
	wait_term();
	for (int i = 0; i < THREADS; i++)
		if (i != PIPE_B)
			CHECK(pthread_join(t[i], NULL) == 0);
	CHECK(holds(pages, 4 << 20, 31));
	child_end(pid);
	pass(); /* PIPE_B is waiting for input */
}
