/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sigactions: handler, flags, mask and restorer of all 64 signals, in two processes. */
#include "subject.h"

/* As the kernel has it; glibc hides restorer and some flags. */
struct action {
	void *handler;
	unsigned long flags;
	void *restorer;
	uint64_t mask;
};

static struct action noted[65];
static volatile int ran;

static void handler_a(int sig)
{
	ran = sig;
}

static void handler_b(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	ran = si->si_signo == sig ? sig + 1000 : -1;
}

static int action(int sig, const struct action *set, struct action *get)
{
	return syscall(SYS_rt_sigaction, sig, set, get, 8);
}

static void make(int seed)
{
	static const unsigned flags[] = { 0, SA_RESTART, SA_NODEFER, SA_ONSTACK, SA_RESTART | SA_NODEFER,
		SA_NOCLDSTOP, SA_NOCLDWAIT };
	struct action a;

	for (int s = 1; s <= 64; s++) {
		if (s == SIGKILL || s == SIGSTOP || s == SIGTERM || s == SIGCHLD || s == 32 || s == 33)
			continue;
		NEED(action(SIGTERM, NULL, &a) == 0); /* a restorer that works */
		a.mask = 0x0102030405060708u * (s + seed) & ~(1u << (SIGTERM - 1));
		a.flags = (a.flags & 0x04000000) | flags[(s + seed) % 7];
		switch ((s + seed) % 4) {
		case 0:
			a = (struct action){ .handler = SIG_DFL };
			break;
		case 1:
			a.handler = SIG_IGN;
			break;
		case 2:
			a.handler = (void *)handler_a;
			break;
		case 3:
			a.handler = (void *)handler_b;
			a.flags |= SA_SIGINFO;
		}
		NEED(action(s, &a, NULL) == 0);
	}
	for (int s = 1; s <= 64; s++)
		NEED(action(s, NULL, &noted[s]) == 0);
}

static void verify(void)
{
	struct action a;

	for (int s = 1; s <= 64; s++) {
		CHECK(action(s, NULL, &a) == 0);
		if (memcmp(&a, &noted[s], sizeof(a)))
			fail("action of signal %d: handler %p flags %lx mask %lx, not %p %lx %lx", s,
				a.handler, a.flags, a.mask, noted[s].handler, noted[s].flags,
				noted[s].mask);
	}
	for (int s = 1; s <= 64; s++) {
		if (noted[s].handler != handler_a && noted[s].handler != handler_b)
			continue;
		ran = 0;
		CHECK(raise(s) == 0);
		SAME(ran, noted[s].handler == handler_a ? s : s + 1000);
	}
}

static void kid(void *arg)
{
	struct action reset = { .handler = SIG_DFL };

	(void)arg;
	make(5);
	child_up();
	wait_term();
	verify();
	action(SIGABRT, &reset, NULL);
}

int main(int argc, char **argv)
{
	pid_t pid;

	subject_init(argc, argv);
	pid = child(kid, NULL);
	make(2);
	ready();
	wait_term();
	verify();
	child_end(pid);
	pass();
}
