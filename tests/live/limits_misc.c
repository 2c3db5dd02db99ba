/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * limits_misc: resource limits, umask, personality, dumpable, parent-death signal, oom score
 * adjustment, subreaper, THP switch, and what hangs on the parent-death signal.
 */
#include "subject.h"
#include <sys/personality.h>

struct misc {
	struct rlimit limits[16];
	int personality, dumpable, pdeath, reaper, thp, oom;
	mode_t mask;
};

static void note(struct misc *m)
{
	char buf[32];

	memset(m, 0, sizeof(*m));
	for (int i = 0; i < 16; i++)
		NEED(syscall(SYS_prlimit64, 0, i, NULL, &m->limits[i]) == 0);
	m->personality = personality(0xffffffff);
	m->dumpable = prctl(PR_GET_DUMPABLE);
	NEED(prctl(PR_GET_PDEATHSIG, &m->pdeath) == 0);
	NEED(prctl(PR_GET_CHILD_SUBREAPER, &m->reaper) == 0);
	m->thp = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	slurp("/proc/self/oom_score_adj", buf, sizeof(buf));
	m->oom = atoi(buf);
	m->mask = umask(0);
	umask(m->mask);
}

static void check(const struct misc *m)
{
	struct misc n;

	note(&n);
	for (int i = 0; i < 16; i++) {
		SAME(n.limits[i].rlim_cur, m->limits[i].rlim_cur);
		SAME(n.limits[i].rlim_max, m->limits[i].rlim_max);
	}
	SAME(n.personality, m->personality);
	SAME(n.dumpable, m->dumpable);
	SAME(n.pdeath, m->pdeath);
	SAME(n.reaper, m->reaper);
	SAME(n.thp, m->thp);
	SAME(n.oom, m->oom);
	SAME(n.mask, m->mask);
}

static void set_oom(const char *value)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);

	NEED(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

static void kid(void *arg)
{
	static const int lowered[] = { RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_CORE, RLIMIT_NPROC, RLIMIT_NOFILE,
		RLIMIT_MEMLOCK, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE, RLIMIT_LOCKS };
	struct rlimit l;
	struct misc m;

	(void)arg;
	for (size_t i = 0; i < sizeof(lowered) / sizeof(lowered[0]); i++) {
		NEED(getrlimit(lowered[i], &l) == 0);
		l.rlim_max = l.rlim_max < 600 + i ? l.rlim_max : 600 + i;
		l.rlim_cur = l.rlim_max - 10;
		if (lowered[i] == RLIMIT_FSIZE)
			l.rlim_cur = l.rlim_max = 4096;
		NEED(setrlimit(lowered[i], &l) == 0);
	}
	NEED(getrlimit(RLIMIT_CORE, &l) == 0);
	l.rlim_cur = 0;
	NEED(setrlimit(RLIMIT_CORE, &l) == 0);
	NEED(personality(ADDR_NO_RANDOMIZE | UNAME26) >= 0);
	NEED(prctl(PR_SET_DUMPABLE, 0) == 0);
	NEED(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
	NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	NEED(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
	set_oom("321");
	umask(0135);
	note(&m);
	NEED(m.pdeath == SIGUSR1 && m.thp == 1 && m.dumpable == 0);
	child_up();
	wait_term();
	check(&m);
}

static volatile pid_t *orphan;

static void on_usr1(int sig, siginfo_t *si, void *uc)
{
	(void)sig, (void)si, (void)uc;
	subject_term = 1;
}

/* Ends when its parent does. */
static void middle(void *arg)
{
	pid_t pid = fork();
	sigset_t set;

	(void)arg;
	NEED(pid >= 0);
	if (pid == 0) {
		block(SIGUSR1); /* comes at any time, and must not come before sigsuspend() */
		handle(SIGUSR1, on_usr1, 0);
		NEED(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
		sigprocmask(SIG_BLOCK, NULL, &set);
		sigdelset(&set, SIGUSR1);
		child_up();
		while (!subject_term)
			sigsuspend(&set);
		_exit(0);
	}
	*orphan = pid;
	wait_term();
}

int main(int argc, char **argv)
{
	struct misc m;
	pid_t a, b;

	subject_init(argc, argv);
	orphan = map(4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	a = child(kid, NULL);
	b = child(middle, NULL);
	NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
	umask(027);
	note(&m);
	ready();
	wait_term();
	check(&m);
	child_end(a);
	child_end(b);
	SAME(child_reap(*orphan), 0);
	pass();
}
