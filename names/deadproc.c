/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See names/deadproc.h. */
#include "names/deadproc.h"
#include "base/parse.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* "/proc/PID/rest": the pid, and where the rest begins. */
static bool split(const char *path, uint32_t *ret_pid, const char **ret_rest)
{
	struct cursor c = cursor_of(path);

	if (!parse_lit(&c, "/proc/") || !parse_u32(&c, 10, ret_pid) || !*ret_pid ||
		*ret_pid > INT32_MAX || (!cursor_done(&c) && *c.at != '/'))
		return false;
	*ret_rest = c.at;
	return true;
}

pid_t deadproc_pid(const char *path, long fs_type)
{
	const char *rest;
	uint32_t pid;

	if (fs_type != PROC_SUPER_MAGIC || !split(path, &pid, &rest))
		return 0;
	return kill((pid_t)pid, 0) < 0 && errno == ESRCH ? (pid_t)pid : 0;
}

/* A process that does nothing; with this pid if it is not 0. */
static pid_t make_process(pid_t pid)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&pid,
		.set_tid_size = pid ? 1 : 0 };
	pid_t made = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (made == 0)
		for (;;)
			pause();
	return made;
}

int deadproc_open(pid_t pid, const char *path, int flags, int *ret_fd, struct err *err)
{
	pid_t made = make_process(pid);
	char other[PATH_MAX];
	const char *rest;
	uint32_t was;
	int fd, saved;

	if (made < 0)
		made = make_process(0);
	if (made < 0)
		return err_sys(err, "cannot make a process in place of %d, which has ended", pid);
	if (!split(path, &was, &rest) ||
		snprintf(other, sizeof(other), "/proc/%d%s", made, rest) >= PATH_MAX)
		other[0] = '\0';
	fd = open(other, flags | O_CLOEXEC);
	saved = errno;
	kill(made, SIGKILL);
	while (waitpid(made, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (fd < 0)
		return err_sysn(err, saved, "cannot open '%s' of a process that has ended", path);
	*ret_fd = fd;
	return 0;
}
