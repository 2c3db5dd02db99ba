// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/userfault.h"
#include "base/cleanup.h"
#include "inject/hold.h"
#include "kernel/userfault.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PIDFD_THREAD /* 6.9 */
#define PIDFD_THREAD O_EXCL
#endif

/* Of a process whose leader is dead only the other threads lead to its descriptors. */
static int open_pidfd(const struct tracee *t, struct err *err)
{
	int fd = (int)syscall(SYS_pidfd_open, t->tid, 0);

	if (fd < 0 && t->tid != t->tgid)
		fd = (int)syscall(SYS_pidfd_open, t->tid, PIDFD_THREAD);
	return fd < 0 ? err_sys(err, "cannot get hold of task %d", t->tid) : fd;
}

static int play_call(struct hold *h, struct tracee *t, struct tape *tape, long nr, int64_t arg,
	int64_t *ret, struct err *err)
{
	size_t call;
	int r;

	tape_reset(tape);
	call = tape_call(tape, "userfault", 0, nr, T(arg));
	r = hold_play(&(struct hold_turn){ .h = h, .t = t, .tape = tape }, 1, err);
	*ret = r < 0 ? -ECANCELED : tape_result(tape, call);
	return r;
}

static int make_and_take(struct hold *h, struct tracee *t, struct tape *tape, int *ret_fd,
	struct err *err)
{
	auto_close int pidfd = open_pidfd(t, err);
	int64_t number, ignored;
	int fd, number_of_error, r;

	if (pidfd < 0)
		return pidfd;
	r = play_call(h, t, tape, SYS_userfaultfd, USERFAULT_FLAGS, &number, err);
	if (r < 0)
		return r;
	if (number < 0)
		return err_set(err, ERR_TARGET, (int)-number, "task %d cannot make a userfaultfd: %s",
			t->tgid, strerror((int)-number));
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)number, 0);
	number_of_error = errno;
	r = play_call(h, t, tape, SYS_close, number, &ignored, err);
	if (fd < 0)
		return err_sysn(err, number_of_error, "cannot take a userfaultfd of task %d", t->tgid);
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int userfault_from_task(struct tracee *t, unsigned patience_s, int *ret_fd, struct err *err)
{
	struct tape *tape = tape_new();
	struct hold h;
	int r = hold_begin(&h, &t, 1, patience_s, err);

	if (r == 0) {
		r = make_and_take(&h, t, tape, ret_fd, err);
		hold_end(&h, 1);
	}
	tape_free(tape);
	return r;
}
