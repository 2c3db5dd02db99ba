/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/daemon.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The three standard descriptors go; a log that was standard error goes with them. */
static int leave_terminal(struct err *err)
{
	auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || setsid() < 0)
		return err_sys(err, "cannot go to the background");
	for (int fd = 0; fd < 3; fd++)
		if (dup2(null, fd) < 0)
			return err_sys(err, "cannot go to the background");
	return 0;
}

static int write_pidfile(const struct call *call, struct err *err)
{
	const char *path = call->o->pidfile;
	auto_close int fd = -1;
	char text[16];
	int n, r;

	if (!path)
		return 0;
	fd = openat(call->work_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, "cannot create the pidfile '%s'", path);
	n = snprintf(text, sizeof(text), "%d\n", getpid());
	r = io_write_all(fd, text, (size_t)n);
	return r < 0 ? err_sysn(err, -r, "cannot write the pidfile '%s'", path) : 0;
}

/* One byte 0, then the end: who waits for either is served. */
static void tell_status(const struct call *call)
{
	int fd = (int)call->o->status_fd;

	if (fd < 0)
		return;
	if (write(fd, "", 1) != 1)
		log_warn("nobody is told by descriptor %d: %s", fd, strerror(errno));
	close(fd);
}

/* The first process waits until the second one is ready, and says why if it is not. */
static int fork_daemon(const struct call *call, bool *ret_parent, struct err *err)
{
	int p[2], r;
	pid_t pid;
	ssize_t n;

	if (pipe2(p, O_CLOEXEC) < 0)
		return err_sys(err, "cannot go to the background");
	pid = fork();
	if (pid < 0)
		return err_sys(err, "cannot go to the background");
	if (pid > 0) {
		interrupt_unwatch();
		close(p[1]);
		n = read(p[0], err, sizeof(*err));
		close(p[0]);
		*ret_parent = true;
		if (n == 0)
			return err_set(err, ERR_RESOURCE, ECHILD, "the server has ended unexpectedly");
		return n == sizeof(*err) ? -err->number : 0;
	}
	interrupt_go_on();
	close(p[0]);
	r = leave_terminal(err);
	if (r == 0)
		r = write_pidfile(call, err);
	n = r < 0 ? write(p[1], err, sizeof(*err)) : write(p[1], "", 1);
	close(p[1]);
	return n > 0 ? r : -EPIPE;
}

int daemon_ready(const struct call *call, bool *ret_parent, struct err *err)
{
	int r;

	*ret_parent = false;
	fflush(stdout);
	r = call->o->restore_detached ? fork_daemon(call, ret_parent, err) : write_pidfile(call, err);
	if (r == 0 && !*ret_parent)
		tell_status(call);
	return r;
}
