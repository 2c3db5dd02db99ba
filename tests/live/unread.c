/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unread: an inotify descriptor (9) and a fanotify descriptor (8) with events that nobody has read. */
#include "descriptors.h"
#include <sys/fanotify.h>
#include <sys/inotify.h>

static void touch(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT, 0644);

	NEED(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
}

static bool readable(int fd)
{
	char buf[4096];

	return read(fd, buf, sizeof(buf)) > 0;
}

int main(int argc, char **argv)
{
	int fd;

	subject_init(argc, argv);
	NEED(mkdir("dir", 0755) == 0);
	fd = inotify_init1(IN_NONBLOCK);
	NEED(fd >= 0 && dup2(fd, 9) == 9 && inotify_add_watch(9, "dir", IN_CREATE) > 0);
	close(fd);
	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	if (fd < 0)
		skip("no fanotify: %s", strerror(errno));
	NEED(dup2(fd, 8) == 8);
	close(fd);
	NEED(fanotify_mark(8, FAN_MARK_ADD, FAN_MODIFY | FAN_EVENT_ON_CHILD, AT_FDCWD, "dir") == 0);
	touch("dir/before");
	ready();
	wait_term();
	/* What was not read is lost, what happens from now on is not. */
	CHECK(!readable(9) && !readable(8));
	touch("dir/after");
	CHECK(readable(9) && readable(8));
	pass();
}
