/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The terminal of the shell that started the tree (--shell-job) is not saved but described; a
 * restore gives the tree the terminal torpor itself stands on.
 */
#include "base/cleanup.h"
#include "kinds/file/tty.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

/* Its own path is better than /dev/tty, which is another file. */
static int open_by_path(int ctty, int flags)
{
	char path[64];
	unsigned dev = 0;

	if (ioctl(ctty, TIOCGDEV, &dev) < 0 || major(dev) < TTY_PTS_MAJOR)
		return -1;
	snprintf(path, sizeof(path), "/dev/pts/%u", (major(dev) - TTY_PTS_MAJOR) * 256 + minor(dev));
	return open(path, flags);
}

int tty_open_ours(const TtyInfoEntry *info, int flags, int *ret_fd, struct err *err)
{
	auto_close int ctty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	char path[64];
	int fd = -1;

	flags = (flags & O_ACCMODE) | O_NOCTTY | O_CLOEXEC | O_NONBLOCK;
	if (ctty >= 0 && info->type != TTY_TYPE__CTTY)
		fd = open_by_path(ctty, flags);
	if (fd < 0 && ctty >= 0)
		fd = open("/dev/tty", flags);
	for (int i = 0; i < 3 && fd < 0 && ctty < 0; i++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", i);
		fd = isatty(i) ? open(path, flags) : -1;
	}
	if (fd < 0 && ctty >= 0)
		return err_sys(err, "cannot open torpor's terminal");
	if (fd < 0)
		return err_target(err, ENOTTY, "the tree needs a terminal, and torpor has none to give; "
			"run the restore in a terminal");
	*ret_fd = fd;
	return 0;
}
