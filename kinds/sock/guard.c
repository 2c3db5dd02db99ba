/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/sock/guard.h. */
#include "kinds/sock/guard.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GUARD_KEY = 798, WORD = SIGUSR1 };

/* Shared by torpor and the guard. n is raised after an entry is complete. */
struct guard {
	_Atomic size_t n;
	struct {
		int fd, level, option, value;
	} undo[SOCK_GUARD_MAX];
	pid_t pid;
};

static uint64_t guard_key(void)
{
	return table_key(GUARD_KEY, 0);
}

/* The guard's whole life. Every signal is blocked; torpor ends it by SIGKILL. */
static _Noreturn void watch(struct guard *g, pid_t parent)
{
	sigset_t all, word;
	int sig;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigemptyset(&word);
	sigaddset(&word, WORD);
	prctl(PR_SET_PDEATHSIG, WORD);
	/* It may have died before that. */
	if (getppid() == parent)
		sigwait(&word, &sig);
	for (size_t i = atomic_load(&g->n); i-- > 0;)
		setsockopt(g->undo[i].fd, g->undo[i].level, g->undo[i].option, &g->undo[i].value,
			sizeof(int));
	_exit(0);
}

static int start(struct table *seen, struct guard **ret, struct err *err)
{
	struct guard *g = mmap(NULL, sizeof(*g), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t parent = getpid(), pid;

	if (g == MAP_FAILED)
		return err_nomem(err);
	/* A fork, but for the descriptors. */
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		watch(g, parent);
	if (pid < 0) {
		int number = errno;

		munmap(g, sizeof(*g));
		return err_sysn(err, number, "cannot start the guard of socket options");
	}
	g->pid = pid;
	table_put(seen, guard_key(), g);
	*ret = g;
	return 0;
}

int sock_guard_note(struct table *seen, int fd, int level, int option, int value, struct err *err)
{
	struct guard *g = table_get(seen, guard_key());
	size_t n;
	int r = g && g->pid ? 0 : start(seen, &g, err);

	if (r < 0)
		return r;
	n = atomic_load(&g->n);
	if (n == SOCK_GUARD_MAX)
		return err_bug(err, "more than %d socket options are different", SOCK_GUARD_MAX);
	g->undo[n].fd = fd;
	g->undo[n].level = level;
	g->undo[n].option = option;
	g->undo[n].value = value;
	atomic_store(&g->n, n + 1);
	return 0;
}

size_t sock_guard_room(const struct table *seen)
{
	struct guard *g = table_get(seen, guard_key());

	return SOCK_GUARD_MAX - (g && g->pid ? atomic_load(&g->n) : 0);
}

void sock_guard_forget(const struct table *seen)
{
	struct guard *g = table_get(seen, guard_key());

	if (g)
		atomic_store(&g->n, 0);
}

void sock_guard_end(const struct table *seen)
{
	struct guard *g = table_get(seen, guard_key());

	if (!g || !g->pid)
		return;
	kill(g->pid, SIGKILL);
	while (waitpid(g->pid, NULL, __WALL) < 0 && errno == EINTR)
		;
	/* The page stays: `seen` still leads to it, and another look would start another guard. */
	g->pid = 0;
}
