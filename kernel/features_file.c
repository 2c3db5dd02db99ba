/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probes of descriptors, their fdinfo, paths and mounts. */
#include "base/cleanup.h"
#include "base/io.h"
#include "kernel/features_priv.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, OWNER_UIDS = 17 /* F_GETOWNER_UIDS */, SET_GROUP = 0x100 };

static int fdinfo_has(int fd, const char *key)
{
	auto_free char *text = NULL;
	int r;

	if (fd < 0)
		return -errno;
	r = io_slurpf(&text, NULL, "/proc/self/fdinfo/%d", fd);
	if (r < 0)
		return r;
	return strstr(text, key) ? 0 : -ENOTSUP;
}

int probe_mnt_id(void)
{
	return fdinfo_has(open("/", O_RDONLY | O_CLOEXEC), "mnt_id:");
}

int probe_fdinfo(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int notify = inotify_init1(IN_CLOEXEC), epoll = epoll_create1(EPOLL_CLOEXEC);
	int event_fd = eventfd(0, EFD_CLOEXEC), r;
	sigset_t set;

	if (notify < 0 || epoll < 0 || inotify_add_watch(notify, "/", IN_DELETE_SELF) < 0 ||
		epoll_ctl(epoll, EPOLL_CTL_ADD, event_fd, &event) < 0)
		return -errno;
	sigemptyset(&set);
	r = fdinfo_has(event_fd, "eventfd-count:");
	if (r == 0)
		r = fdinfo_has(epoll, "tfd:");
	if (r == 0)
		r = fdinfo_has(notify, "inotify wd:");
	return r < 0 ? r : fdinfo_has(signalfd(-1, &set, SFD_CLOEXEC), "sigmask:");
}

int probe_timerfd(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r = fdinfo_has(fd, "clockid:");
	uint64_t ticks = 1;

	return r < 0 ? r : probe_result(ioctl(fd, _IOW('T', 0, uint64_t), &ticks));
}

int probe_fdinfo_lock(void)
{
	int fd = memfd_create("probe", MFD_CLOEXEC);

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return -errno;
	return fdinfo_has(fd, "lock:");
}

int probe_fown_uids(void)
{
	uint32_t uids[2];
	int ends[2];

	if (pipe(ends) < 0)
		return -errno;
	return probe_result(fcntl(ends[0], OWNER_UIDS, uids));
}

/* Two pieces that begin in the middle of a page and are read back whole. */
int probe_unaligned_vmsplice(void)
{
	char text[] = "abcdef", back[4];
	struct iovec pieces[] = { { text + 1, 2 }, { text + 4, 2 } };
	int ends[2];

	if (pipe(ends) < 0)
		return -errno;
	if (vmsplice(ends[1], pieces, 2, SPLICE_F_NONBLOCK) != 4)
		return -errno;
	if (io_read_all(ends[0], back, sizeof(back)) < 0)
		return -EIO;
	return memcmp(back, "bcef", 4) ? -EIO : 0;
}

int probe_pty_lock(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), locked = 1;

	if (master < 0 || ioctl(master, TIOCSPTLCK, &locked) < 0)
		return -errno;
	locked = 0;
	if (ioctl(master, TIOCGPTLCK, &locked) < 0)
		return -errno;
	return locked ? 0 : -ENOTSUP;
}

int probe_openat2(void)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };

	return probe_result(syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how)));
}

/* Flags are looked at before descriptors: only a kernel that knows this one minds the latter. */
int probe_move_mount_set_group(void)
{
	syscall(SYS_move_mount, -1, "x", -1, "x", SET_GROUP);
	return errno == EBADF ? 0 : -errno;
}

/* ---- with a mount namespace of their own ---- */

static int own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return 0;
}

static int text_has(int fd, const char *what)
{
	enum { ROOM = 1 << 20 };
	auto_free char *text = calloc(1, ROOM + 1);
	ssize_t n, len = 0;

	while (text && len < ROOM && (n = read(fd, text + len, (size_t)(ROOM - len))) > 0)
		len += n;
	return text && strstr(text, what) ? 0 : -ENOTSUP;
}

/* Mounted over /sys: a directory that is everywhere and not asked for anything here. */
int probe_autofs(void)
{
	char text[96];
	int ends[2], r;

	r = own_mounts();
	if (r < 0 || pipe(ends) < 0)
		return r < 0 ? r : -errno;
	snprintf(text, sizeof(text), "fd=%d,pgrp=%d,minproto=5,maxproto=5,direct", ends[1],
		getpgrp());
	if (mount("probe", "/sys", "autofs", 0, text) < 0)
		return -errno;
	return text_has(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), "pipe_ino=");
}

/* A tmpfs over /proc (which is everywhere) with an overlay in it. */
static int mount_overlay(void)
{
	static const char *const dirs[] = { "/proc/l", "/proc/u", "/proc/w", "/proc/m" };

	if (mount("none", "/proc", "tmpfs", 0, NULL) < 0)
		return -errno;
	for (int i = 0; i < 4; i++)
		if (mkdir(dirs[i], 0700) < 0)
			return -errno;
	return probe_result(mount("none", "/proc/m", "overlay", 0,
		"lowerdir=/proc/l,upperdir=/proc/u,workdir=/proc/w"));
}

int probe_overlayfs_maps(void)
{
	int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC), fd, r;
	char wanted[64];
	struct stat st;

	if (maps < 0)
		return -errno;
	r = own_mounts();
	if (r == 0)
		r = mount_overlay();
	if (r < 0)
		return r;
	fd = open("/proc/m/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, PAGE) < 0 || fstat(fd, &st) < 0 ||
		mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		return -errno;
	snprintf(wanted, sizeof(wanted), " %02x:%02x %lu ", major(st.st_dev), minor(st.st_dev),
		(unsigned long)st.st_ino);
	return text_has(maps, wanted);
}
