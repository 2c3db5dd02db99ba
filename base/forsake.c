// SPDX-License-Identifier: GPL-2.0-or-later
/* See base/forsake.h. A descriptor table that is shared is closed by the last who leaves it. */
#include "base/forsake.h"
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void forsake_descriptors(void)
{
	const struct timespec look = { .tv_sec = 1 };
	pid_t us = getpid();
	sigset_t all;

	if (syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, 0) != 0)
		return;
	/* none of what ends a whole group of processes at once (terminals) ends it before us */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	/* sent after our table was left (kernel/exit.c do_exit(): exit_files() before exit_notify()) */
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	while (getppid() == us)
		sigtimedwait(&all, NULL, &look);
	/* whoever hangs already may have the table, too: who reads what we say shall not wait for that */
	syscall(SYS_close_range, 0U, 2U, 0U);
	_exit(0);
}
