/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probes of what can be asked of and told to tasks: ptrace, prctl, clone, signals, namespaces. */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/features_priv.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* linux/prctl.h of 6.15 */
enum { TIMER_CREATE_RESTORE_IDS = 77 };
enum { TRIES = 5, TIMER_ID = 4242 };

/* ---- ptrace ---- */

static int seize_and_stop(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0)
		return -errno;
	if (waitpid(pid, &status, __WALL) < 0)
		return -errno;
	return WIFSTOPPED(status) ? 0 : -ECHILD;
}

int probe_ptrace_seize(void)
{
	return probe_in_tracee(NULL, seize_and_stop);
}

static int look_sigmask(pid_t pid)
{
	uint64_t mask;
	int r = seize_and_stop(pid);

	return r < 0 ? r : probe_result(ptrace(PTRACE_GETSIGMASK, pid, sizeof(mask), &mask));
}

int probe_ptrace_getsigmask(void)
{
	return probe_in_tracee(NULL, look_sigmask);
}

static int look_siginfo(pid_t pid)
{
	struct __ptrace_peeksiginfo_args args = { .off = 0, .flags = 0, .nr = 1 };
	siginfo_t info[1];
	int r = seize_and_stop(pid);

	return r < 0 ? r : probe_result(ptrace(PTRACE_PEEKSIGINFO, pid, &args, info));
}

int probe_ptrace_peeksiginfo(void)
{
	return probe_in_tracee(NULL, look_siginfo);
}

static int look_rseq(pid_t pid)
{
	struct __ptrace_rseq_configuration config;
	int r = seize_and_stop(pid);

	if (r < 0)
		return r;
	return probe_result(ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, sizeof(config), &config));
}

int probe_get_rseq_conf(void)
{
	return probe_in_tracee(NULL, look_rseq);
}

static int look_suspend(pid_t pid)
{
	return probe_result(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_SUSPEND_SECCOMP));
}

int probe_seccomp_suspend(void)
{
	return probe_in_tracee(NULL, look_suspend);
}

static int prepare_filter(void)
{
	struct sock_filter allow[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog program = { .len = 1, .filter = allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return probe_result(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
}

static int look_filter(pid_t pid)
{
	struct sock_filter code[4];
	int r = seize_and_stop(pid);

	return r < 0 ? r : probe_result(ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, code));
}

int probe_seccomp_filters(void)
{
	return probe_in_tracee(prepare_filter, look_filter);
}

static int look_breakpoint(pid_t pid)
{
	size_t at = offsetof(struct user, u_debugreg);
	int r = seize_and_stop(pid);

	if (r == 0)
		r = probe_result(ptrace(PTRACE_POKEUSER, pid, at, (void *)look_breakpoint));
	if (r == 0) /* local enable of the first one: execution, one byte */
		r = probe_result(ptrace(PTRACE_POKEUSER, pid, at + 7 * sizeof(long), (void *)1));
	return r;
}

int probe_breakpoints(void)
{
	return probe_in_tracee(NULL, look_breakpoint);
}

/* ---- clone, exec, pidfd, kcmp ---- */

/* A pid that was just used is free again unless somebody else is faster. */
static int clone_with_old_pid(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid_size = 1 };
	pid_t wanted = fork(), pid;

	if (wanted < 0)
		return -errno;
	if (wanted == 0)
		_exit(0);
	waitpid(wanted, NULL, 0);
	args.set_tid = (uint64_t)(uintptr_t)&wanted;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return -errno;
	waitpid(pid, NULL, 0);
	return pid == wanted ? 0 : -ENOTSUP;
}

int probe_clone3_set_tid(void)
{
	int r = -EEXIST;

	for (int i = 0; i < TRIES && r == -EEXIST; i++)
		r = clone_with_old_pid();
	return r;
}

/* A directory cannot be run: what counts is that the call is there and takes the flag. */
int probe_execveat(void)
{
	char *const none[] = { NULL };
	int fd = open("/", O_PATH | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	syscall(SYS_execveat, fd, "", none, none, AT_EMPTY_PATH);
	return errno == EACCES ? 0 : -errno;
}

int probe_pidfd_store(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (pidfd < 0)
		return -errno;
	return probe_result(syscall(SYS_pidfd_getfd, pidfd, pidfd, 0));
}

int probe_kcmp(void)
{
	return probe_result(syscall(SYS_kcmp, getpid(), getpid(), KCMP_VM, 0, 0));
}

int probe_kcmp_epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct kcmp_epoll_slot slot = { 0 };
	int epoll = epoll_create1(0), ends[2];

	if (epoll < 0 || pipe(ends) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) < 0)
		return -errno;
	slot.efd = (uint32_t)epoll;
	slot.tfd = (uint32_t)ends[0];
	return probe_result(syscall(SYS_kcmp, getpid(), getpid(), KCMP_EPOLL_TFD, ends[0], &slot));
}

/* ---- signals, timers, prctl ---- */

int probe_rt_sigqueueinfo(void)
{
	siginfo_t info = { .si_signo = SIGUSR1, .si_code = SI_USER };
	sigset_t set;

	/* a siginfo that claims to come from kill(2) may only be queued to oneself */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return probe_result(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &info));
}

int probe_timer_cr_ids(void)
{
	int id = TIMER_ID;

	if (prctl(TIMER_CREATE_RESTORE_IDS, 1, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, &id) < 0)
		return -errno;
	return id == TIMER_ID ? 0 : -ENOTSUP;
}

int probe_tid_address(void)
{
	int *address;

	return probe_result(prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0));
}

/* The kernel tells the size of the struct it takes; 0 would be another prctl of that number. */
int probe_set_mm_map(void)
{
	unsigned int size = 0;

	if (prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &size, 0, 0) < 0)
		return -errno;
	return size >= sizeof(struct prctl_mm_map) ? 0 : -ENOTSUP;
}

int probe_loginuid(void)
{
	auto_free char *text = NULL;
	int r = io_slurp("/proc/self/loginuid", &text, NULL);

	return r < 0 ? r : io_put("/proc/self/loginuid", text);
}

/* ---- namespaces ---- */

int probe_ns_last_pid(void)
{
	return access("/proc/sys/kernel/ns_last_pid", R_OK | W_OK) < 0 ? -errno : 0;
}

int probe_ns_pid(void)
{
	auto_free char *text = NULL;
	int r = io_slurp("/proc/self/status", &text, NULL);

	if (r < 0)
		return r;
	return strstr(text, "\nNSpid:") ? 0 : -ENOTSUP;
}

int probe_userns(void)
{
	if (unshare(CLONE_NEWUSER) < 0)
		return -errno;
	return probe_set_mm_map();
}

int probe_cgroupns(void)
{
	return probe_result(unshare(CLONE_NEWCGROUP));
}

int probe_timens(void)
{
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	return io_put("/proc/self/timens_offsets", "monotonic 1 0");
}

int probe_ipc_next_id(void)
{
	static const char *const paths[] = { "/proc/sys/kernel/sem_next_id",
		"/proc/sys/kernel/msg_next_id", "/proc/sys/kernel/shm_next_id" };

	for (int i = 0; i < 3; i++)
		if (access(paths[i], R_OK | W_OK) < 0)
			return -errno;
	return 0;
}

int probe_apparmor_stacking(void)
{
	auto_free char *text = NULL;
	int r = io_slurp("/sys/kernel/security/apparmor/features/domain/stack", &text, NULL);

	if (r < 0)
		return r;
	return strncmp(text, "yes", 3) ? -ENOTSUP : 0;
}
