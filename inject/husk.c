// SPDX-License-Identifier: GPL-2.0-or-later
/* Playing tapes in husks, descriptors into them, forks and threads of them. */
#include "inject/husk.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "inject/husk_priv.h"
#include "inject/tracee.h"
#include "player/layout.h"
#include "player/player.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

int husk_open_mem(struct husk *h, struct err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", h->pid);
	h->mem = open(path, O_RDWR | O_CLOEXEC);
	if (h->mem < 0)
		return err_sys(err, "cannot open the memory of task %d", h->pid);
	return 0;
}

static int note_born(struct husk *h, pid_t tid, struct err *err)
{
	unsigned long child;

	if (ptrace(PTRACE_GETEVENTMSG, tid, NULL, &child) < 0)
		return err_sys(err, "cannot learn the new child of task %d", tid);
	vec_push(&h->born, (pid_t)child);
	return 0;
}

/* Until the marker; children and threads that are born on the way are noted. */
static int wait_marker(struct husk *h, pid_t tid, struct err *err)
{
	int status, r;

	for (;;) {
		if (ptrace(PTRACE_CONT, tid, NULL, NULL) < 0)
			return err_sys(err, "cannot continue task %d", tid);
		r = tracee_wait(tid, &status, err);
		if (r < 0)
			return r;
		switch (tracee_event(status)) {
		case PTRACE_EVENT_FORK:
		case PTRACE_EVENT_VFORK:
		case PTRACE_EVENT_CLONE:
			r = note_born(h, tid, err);
			if (r < 0)
				return r;
			continue;
		case 0:
			break;
		default:
			continue;
		}
		if (WSTOPSIG(status) == h->marker)
			return 0;
		if (WSTOPSIG(status) == SIGSEGV || WSTOPSIG(status) == SIGBUS ||
			WSTOPSIG(status) == SIGTRAP)
			return err_bug(err, "task %d got signal %d while it was being filled", tid,
				WSTOPSIG(status));
	}
}

static int player_regs(const struct husk *h, pid_t tid, const struct tape *tape, size_t marker,
	struct err *err)
{
	uint64_t base = h->layout->area + TAPE_OFFSET;
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, tid, NULL, &regs) < 0)
		return err_sys(err, "cannot read registers of task %d", tid);
	regs.rip = h->layout->area + PLAYER_OFFSET(player_play);
	regs.orig_rax = (unsigned long)-1;
	regs.rbx = base;
	regs.rbp = base + tape_entries_len(tape);
	regs.r15 = base + marker;
	regs.r13 = h->layout->area + PLAYER_OFFSET(player_trap);
	regs.rsp = h->layout->area + STACK_OFFSET;
	if (ptrace(PTRACE_SETREGS, tid, NULL, &regs) < 0)
		return err_sys(err, "cannot set registers of task %d", tid);
	return 0;
}

static int move_tape(struct husk *h, pid_t tid, void *buf, size_t size, bool in, struct err *err)
{
	struct iovec local = { buf, size };
	struct iovec remote = { (void *)(h->layout->area + TAPE_OFFSET), size };
	ssize_t n = in ? process_vm_writev(tid, &local, 1, &remote, 1, 0) :
			 process_vm_readv(tid, &local, 1, &remote, 1, 0);

	if (n != (ssize_t)size)
		return err_sysn(err, n < 0 ? errno : EIO, "cannot copy a tape of task %d", tid);
	return 0;
}

int husk_play(struct husk *h, pid_t tid, struct tape *tape, struct err *err)
{
	size_t marker = tape_calls(tape) * ENTRY_SIZE;
	size_t pid_call = tape_call0(tape, "husk", 0, SYS_getpid);
	size_t tid_call = tape_call0(tape, "husk", 0, SYS_gettid);
	auto_free uint8_t *buf = NULL;
	size_t size;
	int r;

	if (!tid)
		tid = h->pid;
	tape_call(tape, "husk", 0, SYS_tgkill, T_RESULT(pid_call), T_RESULT(tid_call),
		T(h->marker));
	size = tape_size(tape);
	if (size > HUSK_TAPE_MAX + 4096)
		return err_bug(err, "tape of %zu bytes for task %d", size, tid);
	buf = malloc(size);
	if (!buf)
		return err_nomem(err);
	tape_render(tape, h->layout->area + TAPE_OFFSET, buf);
	r = move_tape(h, tid, buf, size, true, err);
	if (r == 0)
		r = player_regs(h, tid, tape, marker, err);
	if (r == 0)
		r = wait_marker(h, tid, err);
	if (r == 0)
		r = move_tape(h, tid, buf, size, false, err);
	if (r < 0)
		return r;
	tape_learn(tape, buf);
	return tape_check(tape, tid, err);
}

/* ---- descriptors ---- */

static int send_descriptors(const struct husk_layout *l, const int *fds, size_t n, struct err *err)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * HUSK_SEND_MAX)] = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * n);
	memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	if (sendmsg(l->send_fd, &msg, 0) < 0)
		return err_sys(err, "cannot pass %zu descriptors on", n);
	return 0;
}

/* What does not pass through sockets (io_uring, since 6.7) the husk takes out of our table. */
static int fetch_descriptors(struct husk *h, const int *fds, size_t n, int *ret_numbers,
	struct err *err)
{
	struct tape *t = tape_new();
	size_t self = tape_call(t, "husk", TAPE_MUST, SYS_pidfd_open, T(getpid()), T(0));
	int r;

	for (size_t i = 0; i < n; i++)
		tape_call(t, "husk", TAPE_MUST, SYS_pidfd_getfd, T_RESULT(self), T(fds[i]), T(0));
	tape_call(t, "husk", 0, SYS_close, T_RESULT(self));
	r = husk_play(h, 0, t, err);
	for (size_t i = 0; i < n && r == 0; i++)
		ret_numbers[i] = (int)tape_result(t, self + 1 + i);
	tape_free(t);
	return r;
}

static int receive_descriptors(struct husk *h, size_t n, int *ret_numbers, struct err *err)
{
	size_t control_len = CMSG_SPACE(sizeof(int) * n);
	struct msghdr msg = { .msg_iovlen = 1, .msg_controllen = control_len };
	struct iovec iov = { NULL, 1 };
	struct tape *t;
	size_t at_msg, at_iov, at_byte, at_control, call;
	const struct cmsghdr *c;
	int r;

	t = tape_new();
	at_msg = tape_data(t, &msg, sizeof(msg));
	at_iov = tape_data(t, &iov, sizeof(iov));
	at_byte = tape_room(t, 1);
	at_control = tape_room(t, control_len);
	tape_point(t, at_msg + offsetof(struct msghdr, msg_iov), at_iov);
	tape_point(t, at_msg + offsetof(struct msghdr, msg_control), at_control);
	tape_point(t, at_iov + offsetof(struct iovec, iov_base), at_byte);
	call = tape_call(t, "husk", TAPE_MUST, SYS_recvmsg, T(h->sock_fd), T_DATA(at_msg),
		T(MSG_CMSG_CLOEXEC));
	r = husk_play(h, 0, t, err);
	c = tape_at(t, at_control);
	if (r == 0 && (tape_result(t, call) != 1 || c->cmsg_type != SCM_RIGHTS ||
			c->cmsg_len != CMSG_LEN(sizeof(int) * n)))
		r = err_set(err, ERR_RESOURCE, EMFILE,
			"task %d received fewer than %zu descriptors: its limit of open files is "
			"too low", h->pid, n);
	if (r == 0)
		memcpy(ret_numbers, CMSG_DATA(c), sizeof(int) * n);
	tape_free(t);
	return r;
}

int husk_send(struct husk *h, const int *fds, size_t n, int *ret_numbers, struct err *err)
{
	int r;

	if (n == 0)
		return 0;
	if (n > HUSK_SEND_MAX)
		return err_bug(err, "%zu descriptors at once", n);
	r = send_descriptors(h->layout, fds, n, err);
	if (r != -EINVAL)
		return r < 0 ? r : receive_descriptors(h, n, ret_numbers, err);
	err_clear(err);
	return fetch_descriptors(h, fds, n, ret_numbers, err);
}

/* ---- forks and threads ---- */

/* The new task has been attached by the kernel and reports its first stop before any instruction. */
static int wait_born(pid_t tid, struct err *err)
{
	int status, r = tracee_wait(tid, &status, err);

	if (r == 0 && tracee_event(status) != PTRACE_EVENT_STOP)
		return err_bug(err, "new task %d stopped with status 0x%x", tid, status);
	return r;
}

static void tape_clone(struct tape *t, pid_t tid, uint64_t flags, int exit_signal)
{
	struct clone_args args = { .flags = flags, .exit_signal = (uint64_t)exit_signal,
		.set_tid_size = tid ? 1 : 0 };
	size_t at = tape_data(t, &args, sizeof(args));

	if (tid)
		tape_point(t, at + offsetof(struct clone_args, set_tid),
			tape_data(t, &tid, sizeof(tid)));
	tape_call(t, "clone", TAPE_MUST, SYS_clone3, T_DATA(at), T(sizeof(args)));
}

/* Plays one clone; again while the pid of a task that has just ended is not free. */
static int play_fork(struct husk *h, const struct husk_birth *birth, struct err *err)
{
	int exit_signal = birth->flags & CLONE_PARENT ? 0 : SIGCHLD;
	unsigned tries = 0;
	int r;

	for (;;) {
		struct tape *t = tape_new();

		tape_clone(t, birth->pid, birth->flags, exit_signal);
		h->born.n = 0;
		r = husk_play(h, 0, t, err);
		tape_free(t);
		if (r != -EEXIST || !husk_pid_may_be_free(&tries))
			return r;
		err_clear(err);
	}
}

int husk_fork(struct husk *h, const struct husk_birth *birth, struct husk *child, struct err *err)
{
	int r = play_fork(h, birth, err);

	if (r < 0)
		return birth->pid ? err_while(err, "creating task %d", birth->pid) : r;
	if (h->born.n != 1)
		return err_bug(err, "task %d reported %zu children instead of one", h->pid,
			h->born.n);
	*child = *h;
	child->pid = h->born.at[0];
	child->mem = -1;
	child->born = (struct pid_list){ 0 };
	r = wait_born(child->pid, err);
	return r < 0 ? r : husk_open_mem(child, err);
}

/* Creates threads in order until one cannot be; *ret_done tells how many there are now. */
static int play_threads(struct husk *h, const pid_t *tids, size_t n, pid_t *ret_real,
	size_t *ret_done, struct err *err)
{
	const uint64_t flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
		CLONE_SYSVSEM;
	struct tape *t = tape_new();
	int r;

	for (size_t i = 0; i < n; i++)
		tape_clone(t, tids[i], flags, 0);
	h->born.n = 0;
	r = husk_play(h, 0, t, err);
	tape_free(t);
	*ret_done = h->born.n;
	for (size_t i = 0; i < h->born.n && i < n; i++) {
		struct err ignored = ERR_INIT;
		int rb = wait_born(ret_real[i] = h->born.at[i], r < 0 ? &ignored : err);

		r = r < 0 ? r : rb;
	}
	if (r == 0 && h->born.n != n)
		return err_bug(err, "task %d reported %zu threads instead of %zu", h->pid,
			h->born.n, n);
	return r;
}

static int threads_batch(struct husk *h, const pid_t *tids, size_t n, pid_t *ret_real,
	struct err *err)
{
	unsigned tries = 0;
	size_t done;
	int r;

	while ((r = play_threads(h, tids, n, ret_real, &done, err)) == -EEXIST && done < n &&
		husk_pid_may_be_free(&tries)) {
		err_clear(err);
		tids += done;
		ret_real += done;
		n -= done;
	}
	if (r == -EEXIST && done < n)
		return err_while(err, "creating thread %d, whose number is in use", tids[done]);
	return r;
}

int husk_threads(struct husk *h, const pid_t *tids, size_t n, pid_t *ret_real, struct err *err)
{
	enum { BATCH = 2000 };

	for (size_t i = 0; i < n; i += BATCH) {
		size_t m = n - i < BATCH ? n - i : BATCH;
		int r = threads_batch(h, tids + i, m, ret_real + i, err);

		if (r < 0)
			return err_while(err, "creating %zu threads of task %d", n, h->pid);
	}
	return 0;
}

/* ---- ends ---- */

static int wait_end(pid_t pid, struct err *err)
{
	int status;

	for (;;) {
		if (waitpid(pid, &status, __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return err_sys(err, "cannot wait for the end of task %d", pid);
		}
		if (!WIFSTOPPED(status))
			return 0;
		/* the deadly signal is reported to us first; other stops go on */
		if (ptrace(PTRACE_CONT, pid, NULL,
			    (void *)(uintptr_t)(tracee_event(status) ? 0 : WSTOPSIG(status))) < 0)
			return err_sys(err, "cannot continue task %d", pid);
	}
}

int husk_exit(struct husk *h, int code, int signal, struct err *err)
{
	uint64_t none = 0;
	int r;

	if (signal) {
		/* whatever is blocked is none of the dying task's business any more */
		if (ptrace(PTRACE_SETSIGMASK, h->pid, sizeof(none), &none) < 0)
			return err_sys(err, "cannot set the signal mask of task %d", h->pid);
		if (kill(h->pid, signal) < 0)
			return err_sys(err, "cannot send signal %d to task %d", signal, h->pid);
		if (ptrace(PTRACE_CONT, h->pid, NULL, NULL) < 0 && errno != ESRCH)
			return err_sys(err, "cannot continue task %d", h->pid);
	} else {
		const uint64_t args[6] = { (uint64_t)code };

		r = husk_set_syscall(h, h->pid, h->layout->area, SYS_exit_group, args, err);
		if (r < 0)
			return r;
		if (ptrace(PTRACE_CONT, h->pid, NULL, NULL) < 0)
			return err_sys(err, "cannot continue task %d", h->pid);
	}
	return wait_end(h->pid, err);
}

int husk_unmap_area(struct husk *h, pid_t tid, struct err *err)
{
	const uint64_t args[6] = { h->layout->area, h->layout->area_len };
	int64_t ret;
	int r = husk_syscall(h, tid, h->layout->area, SYS_munmap, args, &ret, err);

	if (r < 0)
		return r;
	if (ret < 0)
		return err_sysn(err, (int)-ret, "task %d cannot unmap its scratch area", h->pid);
	return 0;
}

static bool is_zombie(pid_t pid)
{
	auto_free char *text = NULL;
	const char *state;

	if (io_slurpf(&text, NULL, "/proc/%d/stat", pid) < 0)
		return true;
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'Z';
}

int husk_leader_exit(struct husk *h, int code, struct err *err)
{
	const uint64_t args[6] = { (uint64_t)code };
	int r = husk_set_syscall(h, h->pid, h->layout->area, SYS_exit, args, err);

	if (r < 0)
		return r;
	if (ptrace(PTRACE_DETACH, h->pid, NULL, NULL) < 0)
		return err_sys(err, "cannot detach from task %d", h->pid);
	for (int i = 0; i < 10000; i++) {
		if (is_zombie(h->pid))
			return 0;
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	return err_set(err, ERR_KERNEL, ETIMEDOUT, "leader %d did not exit", h->pid);
}

void husk_done(struct husk *h)
{
	if (h->mem >= 0)
		close(h->mem);
	h->mem = -1;
	vec_done(&h->born);
}
