// SPDX-License-Identifier: GPL-2.0-or-later
#include "inject/explain.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "base/vec.h"
#include "kernel/freezer.h"
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

struct name {
	uint64_t number;
	const char *text;
};

static const struct name calls[] = {
	{ SYS_accept4, "accept4" }, { SYS_arch_prctl, "arch_prctl" }, { SYS_brk, "brk" },
	{ SYS_capset, "capset" }, { SYS_chroot, "chroot" }, { SYS_clone, "clone" },
	{ SYS_clone3, "clone3" }, { SYS_close, "close" }, { SYS_close_range, "close_range" },
	{ SYS_dup, "dup" }, { SYS_dup2, "dup2" }, { SYS_dup3, "dup3" },
	{ SYS_epoll_create1, "epoll_create1" }, { SYS_epoll_ctl, "epoll_ctl" },
	{ SYS_eventfd2, "eventfd2" }, { SYS_execveat, "execveat" }, { SYS_exit, "exit" },
	{ SYS_exit_group, "exit_group" }, { SYS_fchdir, "fchdir" }, { SYS_fchmod, "fchmod" },
	{ SYS_fchown, "fchown" }, { SYS_fcntl, "fcntl" }, { SYS_fsync, "fsync" },
	{ SYS_ftruncate, "ftruncate" }, { SYS_futex, "futex" },
	{ SYS_get_robust_list, "get_robust_list" }, { SYS_getgroups, "getgroups" },
	{ SYS_getitimer, "getitimer" }, { SYS_getpid, "getpid" }, { SYS_getresgid, "getresgid" },
	{ SYS_getresuid, "getresuid" }, { SYS_getrlimit, "getrlimit" }, { SYS_gettid, "gettid" },
	{ SYS_ioctl, "ioctl" }, { SYS_ioprio_set, "ioprio_set" }, { SYS_keyctl, "keyctl" },
	{ SYS_kill, "kill" }, { SYS_landlock_restrict_self, "landlock_restrict_self" },
	{ SYS_lseek, "lseek" }, { SYS_madvise, "madvise" }, { SYS_memfd_create, "memfd_create" },
	{ SYS_membarrier, "membarrier" }, { SYS_mlock, "mlock" }, { SYS_mlock2, "mlock2" },
	{ SYS_mlockall, "mlockall" }, { SYS_mmap, "mmap" }, { SYS_mprotect, "mprotect" },
	{ SYS_mremap, "mremap" }, { SYS_munlock, "munlock" }, { SYS_munmap, "munmap" },
	{ SYS_name_to_handle_at, "name_to_handle_at" }, { SYS_open, "open" },
	{ SYS_openat, "openat" }, { SYS_openat2, "openat2" }, { SYS_personality, "personality" },
	{ SYS_pidfd_getfd, "pidfd_getfd" }, { SYS_pidfd_open, "pidfd_open" },
	{ SYS_pipe2, "pipe2" }, { SYS_prctl, "prctl" }, { SYS_pread64, "pread64" },
	{ SYS_preadv, "preadv" }, { SYS_prlimit64, "prlimit64" }, { SYS_pwrite64, "pwrite64" },
	{ SYS_pwritev, "pwritev" }, { SYS_read, "read" }, { SYS_readv, "readv" },
	{ SYS_recvmsg, "recvmsg" }, { SYS_rseq, "rseq" }, { SYS_rt_sigaction, "rt_sigaction" },
	{ SYS_rt_sigprocmask, "rt_sigprocmask" }, { SYS_rt_sigqueueinfo, "rt_sigqueueinfo" },
	{ SYS_rt_sigtimedwait, "rt_sigtimedwait" },
	{ SYS_rt_tgsigqueueinfo, "rt_tgsigqueueinfo" },
	{ SYS_sched_setaffinity, "sched_setaffinity" }, { SYS_sched_setattr, "sched_setattr" },
	{ SYS_seccomp, "seccomp" }, { SYS_sendmsg, "sendmsg" },
	{ SYS_set_robust_list, "set_robust_list" }, { SYS_set_tid_address, "set_tid_address" },
	{ SYS_setfsgid, "setfsgid" }, { SYS_setfsuid, "setfsuid" }, { SYS_setgid, "setgid" },
	{ SYS_setgroups, "setgroups" }, { SYS_setitimer, "setitimer" }, { SYS_setns, "setns" },
	{ SYS_setpgid, "setpgid" }, { SYS_setpriority, "setpriority" },
	{ SYS_setregid, "setregid" }, { SYS_setresgid, "setresgid" },
	{ SYS_setresuid, "setresuid" }, { SYS_setreuid, "setreuid" },
	{ SYS_setrlimit, "setrlimit" }, { SYS_setsid, "setsid" }, { SYS_setuid, "setuid" },
	{ SYS_sigaltstack, "sigaltstack" }, { SYS_signalfd4, "signalfd4" },
	{ SYS_socket, "socket" }, { SYS_socketpair, "socketpair" }, { SYS_tgkill, "tgkill" },
	{ SYS_timer_create, "timer_create" }, { SYS_timer_delete, "timer_delete" },
	{ SYS_timer_getoverrun, "timer_getoverrun" }, { SYS_timer_gettime, "timer_gettime" },
	{ SYS_timer_settime, "timer_settime" }, { SYS_timerfd_create, "timerfd_create" },
	{ SYS_timerfd_settime, "timerfd_settime" }, { SYS_umask, "umask" },
	{ SYS_unlinkat, "unlinkat" }, { SYS_unshare, "unshare" }, { SYS_wait4, "wait4" },
	{ SYS_write, "write" }, { SYS_writev, "writev" },
};

static const struct name prctls[] = {
	{ 1, "PR_SET_PDEATHSIG" },
	{ 4, "PR_SET_DUMPABLE" },
	{ 8, "PR_SET_KEEPCAPS" },
	{ 15, "PR_SET_NAME" },
	{ 22, "PR_SET_SECCOMP" },
	{ 24, "PR_CAPBSET_DROP" },
	{ 28, "PR_SET_SECUREBITS" },
	{ 29, "PR_SET_TIMERSLACK" },
	{ 33, "PR_MCE_KILL" },
	{ 35, "PR_SET_MM" },
	{ 36, "PR_SET_CHILD_SUBREAPER" },
	{ 38, "PR_SET_NO_NEW_PRIVS" },
	{ 40, "PR_GET_TID_ADDRESS" },
	{ 41, "PR_SET_THP_DISABLE" },
	{ 47, "PR_CAP_AMBIENT" },
	{ 57, "PR_SET_IO_FLUSHER" },
	{ 65, "PR_SET_MDWE" },
	{ 67, "PR_SET_MEMORY_MERGE" },
	{ 77, "PR_TIMER_CREATE_RESTORE_IDS" },
};

static const char *name_of(const struct name *names, size_t n, uint64_t number)
{
	for (size_t i = 0; i < n; i++)
		if (names[i].number == number)
			return names[i].text;
	return NULL;
}

void explain_call(long nr, uint64_t first, char *buf, size_t size)
{
	const char *call = name_of(calls, sizeof(calls) / sizeof(*calls), (uint64_t)nr);
	const char *option = NULL;

	if (nr == SYS_prctl)
		option = name_of(prctls, sizeof(prctls) / sizeof(*prctls), first);
	if (!call)
		snprintf(buf, size, "system call %ld", nr);
	else if (option)
		snprintf(buf, size, "%s(%s)", call, option);
	else
		snprintf(buf, size, "%s", call);
}

/* "58 0x0 0x1 ..." */
bool current_call(pid_t tid, uint64_t *ret_nr, uint64_t *ret_first)
{
	auto_free char *text = NULL;
	struct cursor c;

	*ret_first = 0;
	if (io_slurpf(&text, NULL, "/proc/%d/syscall", tid) < 0)
		return false;
	c = cursor_of(text);
	if (!parse_u64(&c, 10, ret_nr))
		return false;
	if (parse_lit(&c, " 0x"))
		(void)parse_u64(&c, 16, ret_first);
	return true;
}

void explain_place(pid_t tid, char *buf, size_t size)
{
	auto_free char *place = NULL;
	uint64_t nr, first;

	*buf = '\0';
	if (!current_call(tid, &nr, &first))
		return;
	explain_call((long)nr, first, buf, size);
	if (io_slurpf(&place, NULL, "/proc/%d/wchan", tid) >= 0 && strlen(place) > 1)
		snprintf(buf + strlen(buf), size - strlen(buf), ", at %s", place);
}

bool explain_frozen(pid_t tid, char *buf, size_t size)
{
	struct frozen_group group;
	bool frozen = frozen_group_of(tid, &group);

	if (frozen)
		snprintf(buf, size, "its control group '%.300s' is frozen; thaw it (%s)", group.folder,
			group.file);
	return frozen;
}
