/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a descriptor can say about itself, to compare before and after. */
#pragma once
#include "subject.h"
#include <dirent.h>
#include <linux/kcmp.h>

struct fd_note {
	struct stat st;
	int fl, fd_flags, owner, sig;
	off_t pos;
	char link[512];
};

static void fd_note(struct fd_note *n, int fd)
{
	char path[64];
	struct f_owner_ex owner = { 0 };

	memset(n, 0, sizeof(*n));
	n->fl = fcntl(fd, F_GETFL);
	if (n->fl < 0)
		fail("descriptor %d is not there: %s", fd, strerror(errno));
	n->fd_flags = fcntl(fd, F_GETFD);
	NEED(fstat(fd, &n->st) == 0);
	n->pos = lseek(fd, 0, SEEK_CUR); /* -1 for O_PATH, pipes */
	if (!(n->fl & O_PATH)) {
		NEED(fcntl(fd, F_GETOWN_EX, &owner) == 0);
		n->owner = owner.pid * 8 + owner.type;
		n->sig = fcntl(fd, F_GETSIG);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	NEED(readlink(path, n->link, sizeof(n->link) - 1) > 0);
}

/* `same_inode` false: a deleted file, which comes back as another inode. */
maybe_unused static void fd_check(const struct fd_note *n, int fd, bool same_inode)
{
	struct fd_note is;

	fd_note(&is, fd);
	if (is.fl != n->fl)
		fail("flags of descriptor %d are %o, not %o", fd, is.fl, n->fl);
	if (is.fd_flags != n->fd_flags)
		fail("close-on-exec of descriptor %d is %d", fd, is.fd_flags);
	if (is.pos != n->pos)
		fail("offset of descriptor %d is %ld, not %ld", fd, (long)is.pos, (long)n->pos);
	if (is.owner != n->owner || is.sig != n->sig)
		fail("owner of descriptor %d is %d, signal %d, not %d, %d", fd, is.owner, is.sig,
			n->owner, n->sig);
	if (is.st.st_mode != n->st.st_mode || is.st.st_size != n->st.st_size ||
		is.st.st_uid != n->st.st_uid || is.st.st_gid != n->st.st_gid ||
		is.st.st_rdev != n->st.st_rdev || is.st.st_nlink != n->st.st_nlink)
		fail("descriptor %d: mode %o size %ld owner %d:%d links %d, not %o, %ld, %d:%d, %d", fd,
			is.st.st_mode, (long)is.st.st_size, is.st.st_uid, is.st.st_gid,
			(int)is.st.st_nlink, n->st.st_mode, (long)n->st.st_size, n->st.st_uid,
			n->st.st_gid, (int)n->st.st_nlink);
	if (same_inode && (is.st.st_dev != n->st.st_dev || is.st.st_ino != n->st.st_ino))
		fail("descriptor %d is another file", fd);
	if (same_inode && strcmp(is.link, n->link))
		fail("descriptor %d is '%s', not '%s'", fd, is.link, n->link);
}

/* Whether two descriptors are the same open file description. */
maybe_unused static bool fd_is_same(pid_t a, int fd_a, pid_t b, int fd_b)
{
	long r = syscall(SYS_kcmp, a, b, KCMP_FILE, fd_a, fd_b);

	CHECK(r >= 0);
	return r == 0;
}

/* Number of open descriptors. */
maybe_unused static int fd_count(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	NEED(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ".", "..", the folder itself */
}
