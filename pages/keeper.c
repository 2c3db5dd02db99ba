// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Descriptors of the keeper: for its i-th task the userfaultfd is number FIRST_FD + 2 i, a pidfd
 * FIRST_FD + 2 i + 1. Others reach them by pidfd_getfd(2), so there is no protocol; and by the
 * pidfd of its first task a keeper is known to belong to that tree.
 */
#include "pages/keeper.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "base/parse.h"
#include "kernel/proc_stat.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	FIRST_FD = 600, /* above all numbers a message's descriptors can get at first */
	SEND_MAX = 126, /* tasks per message; two descriptors each, SCM_MAX_FD is 253 */
};

static const char keeper_comm[] = "torpor-tracker";

/* One message: how many tasks it brings, and which of their descriptors there are. */
struct delivery {
	uint32_t n; /* 0: that was all */
	uint8_t has_uffd[SEND_MAX];
};

/* ------------------------------------------------------------------- inside of the keeper */

/* Only system calls from here on: a fork of a larger program that shall stay small. */
static void put_at(int fd, int number)
{
	if (fd < 0 || dup3(fd, number, O_CLOEXEC) < 0)
		_exit(1);
	close(fd);
}

static size_t take_delivery(int sock, size_t n_tasks)
{
	struct delivery d;
	struct iovec iov = { &d, sizeof(d) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * SEND_MAX * sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control) };
	const int *fds;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != sizeof(d) || d.n > SEND_MAX)
		_exit(0); /* torpor has given up */
	if (!d.n)
		return 0;
	if (!CMSG_FIRSTHDR(&msg))
		_exit(1);
	fds = (const int *)(const void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
	for (size_t i = 0; i < d.n; i++) {
		int number = FIRST_FD + 2 * (int)(n_tasks + i);

		if (d.has_uffd[i])
			put_at(*fds++, number);
		put_at(*fds++, number + 1);
	}
	return d.n;
}

/* Waits for the ends of the tasks, one after the other in any order. */
static _Noreturn void keep(size_t n_tasks)
{
	struct pollfd *polls = calloc(n_tasks, sizeof(*polls));
	size_t left = n_tasks;

	if (!polls)
		_exit(1);
	for (size_t i = 0; i < n_tasks; i++)
		polls[i] = (struct pollfd){ .fd = FIRST_FD + 2 * (int)i + 1, .events = POLLIN };
	while (left) {
		if (poll(polls, n_tasks, -1) < 0 && errno != EINTR)
			_exit(1);
		for (size_t i = 0; i < n_tasks; i++) {
			if (!polls[i].revents)
				continue;
			close(polls[i].fd);
			close(polls[i].fd - 1);
			polls[i] = (struct pollfd){ .fd = -1 };
			left--;
		}
	}
	_exit(0);
}

static _Noreturn void keeper_main(int sock)
{
	struct rlimit files;
	size_t n_tasks = 0, n;

	interrupt_unwatch();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, keeper_comm);
	setsid();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (chdir("/") < 0 || (sock != 3 && dup3(sock, 3, O_CLOEXEC) < 0))
		_exit(1);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	syscall(SYS_close_range, 4u, ~0u, 0u);
	while ((n = take_delivery(3, n_tasks)))
		n_tasks += n;
	prctl(PR_SET_PDEATHSIG, 0);
	if (write(3, "", 1) != 1)
		_exit(0);
	close(3);
	keep(n_tasks);
}

/* ----------------------------------------------------------------------------- starting one */

int keeper_start(struct keeper *k, struct err *err)
{
	int socks[2];

	*k = (struct keeper){ .sock = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) < 0)
		return err_sys(err, "cannot make a socket for the tracker process");
	k->pid = fork();
	if (k->pid < 0) {
		k->pid = 0;
		close(socks[0]);
		close(socks[1]);
		return err_sys(err, "cannot start the tracker process");
	}
	if (k->pid == 0) {
		/* an interrupted socket must not outlive torpor in here */
		if (dup3(socks[1], socks[0], O_CLOEXEC) < 0)
			_exit(1);
		keeper_main(socks[0]);
	}
	close(socks[1]);
	k->sock = socks[0];
	return 0;
}

static int start_time(pid_t pid, uint64_t *ret, char comm[64], struct err *err)
{
	auto_free char *text = NULL;
	struct proc_stat st;
	int r = io_slurpf(&text, NULL, "/proc/%d/stat", pid);

	if (r < 0)
		return err_sysn(err, -r, "cannot read /proc/%d/stat", pid);
	r = proc_stat_parse(text, &st, err);
	if (r < 0)
		return r;
	*ret = st.starttime;
	if (comm)
		memcpy(comm, st.comm, sizeof(st.comm));
	return 0;
}

static int read_boot_id(char **ret, struct err *err)
{
	int r = io_slurp("/proc/sys/kernel/random/boot_id", ret, NULL);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the id of this boot");
	(*ret)[strcspn(*ret, "\n")] = 0;
	return 0;
}

static int describe_self(const struct keeper *k, struct arena *a, TorporTrackerEntry *e,
	struct err *err)
{
	auto_free char *boot_id = NULL;
	uint64_t start;
	int r = read_boot_id(&boot_id, err);

	if (r == 0)
		r = start_time(k->pid, &start, NULL, err);
	if (r < 0)
		return r;
	e->boot_id = arena_strdup(a, boot_id);
	e->has_keeper = e->has_keeper_start = true;
	e->keeper = (uint32_t)k->pid;
	e->keeper_start = start;
	return 0;
}

static void describe_task(const struct kept_task *task, struct arena *a, TorporTrackerEntry *e)
{
	TorporTrackedTask *t = arena_msg(a, TorporTrackedTask, torpor_tracked_task);

	t->pid = (uint32_t)task->pid;
	t->start = task->start;
	arena_push(a, e->tasks, e->n_tasks, t);
}

/* A parcel of tasks and their descriptors, of which the pidfds are ours to close. */
struct parcel {
	struct delivery d;
	int fds[2 * SEND_MAX], pidfds[SEND_MAX];
	size_t n_fds;
};

/* One that has ended since it was stopped needs no keeper. */
static int pack(struct parcel *p, const struct kept_task *task, struct arena *a,
	TorporTrackerEntry *e, struct err *err)
{
	int pidfd = (int)syscall(SYS_pidfd_open, task->pid, 0);

	if (pidfd < 0)
		return errno == ESRCH ? 0 : err_sys(err, "cannot watch task %d", task->pid);
	p->d.has_uffd[p->d.n] = task->uffd >= 0;
	if (task->uffd >= 0)
		p->fds[p->n_fds++] = task->uffd;
	p->fds[p->n_fds++] = p->pidfds[p->d.n++] = pidfd;
	describe_task(task, a, e);
	return 0;
}

static int send_parcel(const struct keeper *k, struct parcel *p, struct err *err)
{
	struct iovec iov = { &p->d, sizeof(p->d) };
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(2 * SEND_MAX * sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (p->n_fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(p->n_fds * sizeof(int));
		control.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(p->n_fds * sizeof(int)) };
		memcpy(CMSG_DATA(&control.head), p->fds, p->n_fds * sizeof(int));
	}
	if (sendmsg(k->sock, &msg, MSG_NOSIGNAL) != sizeof(p->d))
		return err_sys(err, "cannot give descriptors to the tracker process");
	return 0;
}

static void parcel_empty(struct parcel *p)
{
	for (size_t i = 0; i < p->d.n; i++)
		close(p->pidfds[i]);
	*p = (struct parcel){ 0 };
}

int keeper_hand_over(struct keeper *k, const struct kept_task *tasks, size_t n, struct arena *a,
	TorporTrackerEntry *e, struct err *err)
{
	struct parcel p = { 0 };
	char ack;
	int r = describe_self(k, a, e, err);

	for (size_t i = 0; i < n && r == 0; i++) {
		r = pack(&p, &tasks[i], a, e, err);
		if (r == 0 && p.d.n == SEND_MAX) {
			r = send_parcel(k, &p, err);
			parcel_empty(&p);
		}
	}
	if (r == 0 && p.d.n)
		r = send_parcel(k, &p, err);
	parcel_empty(&p);
	if (r == 0)
		r = send_parcel(k, &p, err);
	if (r == 0 && read(k->sock, &ack, 1) != 1)
		r = err_set(err, ERR_RESOURCE, EPIPE, "the tracker process has ended unexpectedly");
	return r;
}

void keeper_drop(struct keeper *k)
{
	if (k->sock >= 0)
		close(k->sock);
	k->sock = -1;
	k->pid = 0;
}

/* ----------------------------------------------------------------------------- finding one */

static int kept_open(pid_t pid, struct kept *ret, struct err *err)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return errno == ESRCH ? 0 : err_sys(err, "cannot watch process %d", pid);
	*ret = (struct kept){ pid, fd };
	return 1;
}

int keeper_of_set(const TorporTrackerEntry *e, struct kept *ret, struct err *err)
{
	auto_free char *boot_id = NULL;
	char comm[64];
	uint64_t start;
	int r;

	if (!e->has_keeper || !e->boot_id || e->keeper > INT32_MAX)
		return 0;
	r = read_boot_id(&boot_id, err);
	if (r < 0)
		return r;
	if (strcmp(boot_id, e->boot_id) != 0)
		return 0;
	r = kept_open((pid_t)e->keeper, ret, err);
	if (r <= 0)
		return r;
	/* the pidfd is of a process that has this pid now: is it the one that was meant? */
	if (start_time((pid_t)e->keeper, &start, comm, err) < 0) {
		err_clear(err);
		start = e->keeper_start + 1;
	}
	if (start == e->keeper_start && !strcmp(comm, keeper_comm))
		return 1;
	kept_done(ret);
	return 0;
}

/* Whether the process is a keeper and its first task is that one. */
static bool keeps_tree(pid_t pid, pid_t root)
{
	auto_free char *comm = NULL;
	auto_free char *info = NULL;
	uint64_t first;

	if (io_slurpf(&comm, NULL, "/proc/%d/comm", pid) < 0 ||
		strncmp(comm, keeper_comm, sizeof(keeper_comm) - 1) != 0)
		return false;
	return io_slurpf(&info, NULL, "/proc/%d/fdinfo/%d", pid, FIRST_FD + 1) == 0 &&
		parse_field_u64(info, "Pid:", 10, &first) && first == (uint64_t)root;
}

int keeper_of_tree(pid_t root, struct kept *ret, struct err *err)
{
	auto_dir DIR *dir = opendir("/proc");
	struct dirent *de;
	int r = 0;

	if (!dir)
		return err_sys(err, "cannot list /proc");
	while (r == 0 && (de = readdir(dir)))
		if (isdigit((unsigned char)de->d_name[0]) && keeps_tree(atoi(de->d_name), root))
			r = kept_open(atoi(de->d_name), ret, err);
	return r;
}

int keeper_borrow(const struct kept *k, size_t index, int *ret_fd, struct err *err)
{
	int fd = (int)syscall(SYS_pidfd_getfd, k->pidfd, FIRST_FD + 2 * (int)index, 0);

	if (fd < 0)
		return errno == EBADF || errno == ESRCH ? 0 :
			err_sys(err, "cannot take a descriptor from the tracker process %d", k->pid);
	*ret_fd = fd;
	return 1;
}

int keeper_end(struct kept *k, struct err *err)
{
	struct pollfd end = { .fd = k->pidfd, .events = POLLIN };

	if (syscall(SYS_pidfd_send_signal, k->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return err_sys(err, "cannot end the tracker process %d", k->pid);
	while (poll(&end, 1, 10000) < 0)
		if (errno != EINTR)
			return err_sys(err, "cannot wait for the tracker process %d", k->pid);
	if (!end.revents)
		return err_set(err, ERR_RESOURCE, ETIMEDOUT,
			"the tracker process %d does not end", k->pid);
	return 0;
}

void kept_done(struct kept *k)
{
	if (k->pidfd >= 0)
		close(k->pidfd);
	*k = (struct kept){ .pidfd = -1 };
}
