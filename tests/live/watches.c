/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watches: inotify descriptors with watches of a folder, a file, a renamed file, with gaps in their
 * numbers and one-shot, shared with a child, of deleted files; fanotify marks of inodes, a mount and a file system.
 * The kernel's own texts about them are compared, then events must come and no other ones.
 */
#include "descriptors.h"
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

enum { TEXT = 8192 };

static int notify, quiet, fan = -1, fan_names = -1;
static int wd_dir, wd_file, wd_once;
static int late, fan_late = -1, gone_dir, gone_file; /* what is deleted is another inode afterwards */
static char texts[4][TEXT];

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines of fdinfo that begin with key, in order. */
static void note_text(int fd, const char *key, char *ret)
{
	char path[64], text[TEXT], *lines[256], *save;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	slurp(path, text, sizeof(text));
	for (char *l = strtok_r(text, "\n", &save); l && n < 256; l = strtok_r(NULL, "\n", &save))
		if (!strncmp(l, key, strlen(key)))
			lines[n++] = l;
	qsort(lines, n, sizeof(*lines), by_text);
	*ret = 0;
	for (int i = 0; i < n; i++)
		snprintf(ret + strlen(ret), TEXT - strlen(ret), "%s\n", lines[i]);
}

static void same_text(int fd, const char *key, const char *want)
{
	char is[TEXT];

	note_text(fd, key, is);
	if (strcmp(is, want))
		fail("descriptor %d: '%s', not '%s'", fd, is, want);
}

static void touch(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT, 0644);

	NEED(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
}

static int watch(const char *name, uint32_t mask)
{
	int wd = inotify_add_watch(notify, name, mask);

	NEED(wd >= 0);
	return wd;
}

static void drain(int fd)
{
	char buf[65536];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void set_up_inotify(void)
{
	notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	quiet = inotify_init();
	NEED(notify >= 0 && quiet >= 0 && mkdir("dir", 0755) == 0);
	touch("file");
	touch("before");
	touch("once");
	touch("other");
	wd_file = watch("file", IN_ALL_EVENTS);
	watch("before", IN_DELETE_SELF | IN_ATTRIB);
	NEED(rename("before", "after") == 0);
	for (int i = 0; i < 40; i++)
		NEED(inotify_rm_watch(notify, watch("other", IN_MODIFY)) == 0);
	wd_dir = watch("dir", IN_ALL_EVENTS | IN_ONLYDIR | IN_EXCL_UNLINK);
	wd_once = watch("once", IN_CLOSE_WRITE | IN_ONESHOT);
	NEED(wd_once - wd_file > 40);
	drain(notify);
}

static void mark(int fd, unsigned flags, uint64_t mask, const char *path)
{
	if (fanotify_mark(fd, FAN_MARK_ADD | flags, mask, AT_FDCWD, path) < 0)
		skip("no fanotify marks with flags 0x%x: %s", flags, strerror(errno));
}

static void set_up_fanotify(void)
{
	fan = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	if (fan < 0)
		skip("no fanotify: %s", strerror(errno));
	NEED(mkdir("mount", 0755) == 0 && mount("none", "mount", "tmpfs", 0, NULL) == 0);
	touch("mount/file");
	mark(fan, 0, FAN_MODIFY | FAN_EVENT_ON_CHILD, "dir");
	mark(fan, FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_CLOSE_WRITE, "dir");
	mark(fan, FAN_MARK_MOUNT, FAN_MODIFY, "mount");
	mark(fan, FAN_MARK_FILESYSTEM, FAN_CLOSE_WRITE, "mount");
	fan_names = fanotify_init(FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_NONBLOCK | FAN_CLOEXEC, 0);
	if (fan_names >= 0)
		mark(fan_names, FAN_MARK_ONLYDIR, FAN_CREATE | FAN_DELETE | FAN_ONDIR, "dir");
}

static void set_up_deleted(void)
{
	late = inotify_init1(IN_NONBLOCK);
	NEED(late >= 0 && mkdir("gone dir", 0755) == 0);
	touch("gone file");
	gone_dir = open("gone dir", O_RDONLY | O_DIRECTORY);
	gone_file = open("gone file", O_RDWR);
	NEED(gone_dir >= 0 && gone_file >= 0);
	NEED(inotify_add_watch(late, "gone dir", IN_DELETE_SELF) == 1);
	NEED(inotify_add_watch(late, "gone file", IN_MODIFY | IN_DELETE_SELF) == 2);
	fan_late = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY);
	NEED(fan_late >= 0);
	mark(fan_late, 0, FAN_MODIFY, "gone file");
	NEED(rmdir("gone dir") == 0 && unlink("gone file") == 0);
	drain(late);
}

static void check_deleted(void)
{
	static const struct inotify_event want[] = { { .wd = 2, .mask = IN_MODIFY },
		{ .wd = 2, .mask = IN_DELETE_SELF }, { .wd = 2, .mask = IN_IGNORED },
		{ .wd = 1, .mask = IN_DELETE_SELF }, { .wd = 1, .mask = IN_IGNORED } };
	char buf[4096] __attribute__((aligned(8)));
	struct fanotify_event_metadata *e = (void *)buf;

	CHECK(read(late, buf, sizeof(buf)) < 0 && errno == EAGAIN);
	CHECK(write(gone_file, "y", 1) == 1);
	CHECK(read(fan_late, buf, sizeof(buf)) > 0);
	SAME(e->mask, FAN_MODIFY);
	close(e->fd);
	close(gone_file);
	close(gone_dir);
	for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++) {
		struct inotify_event got;

		SAME(read(late, &got, sizeof(got)), (int)sizeof(got));
		SAME(got.wd, want[i].wd);
		SAME(got.mask, want[i].mask);
	}
}

/* The next event must be this one. */
static void expect(int wd, uint32_t mask, const char *name)
{
	static char buf[4096] __attribute__((aligned(8)));
	static ssize_t n, at;
	struct inotify_event *e;

	if (at >= n) {
		n = read(notify, buf, sizeof(buf));
		at = 0;
		if (n <= 0)
			fail("no event of watch %d, mask 0x%x", wd, mask);
	}
	e = (void *)(buf + at);
	at += (ssize_t)(sizeof(*e) + e->len);
	if (e->wd != wd || e->mask != mask || strcmp(e->len ? e->name : "", name))
		fail("event of %d mask 0x%x '%s', not of %d mask 0x%x '%s'", e->wd, e->mask,
			e->len ? e->name : "", wd, mask, name);
}

static void kid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	same_text(notify, "inotify", texts[0]);
	touch("dir/new");
}

static void check_inotify(pid_t pid)
{
	char buf[64];

	CHECK(read(notify, buf, sizeof(buf)) < 0 && errno == EAGAIN);
	child_end(pid);
	expect(wd_dir, IN_CREATE, "new");
	expect(wd_dir, IN_OPEN, "new");
	expect(wd_dir, IN_MODIFY, "new");
	expect(wd_dir, IN_CLOSE_WRITE, "new");
	touch("file");
	expect(wd_file, IN_OPEN, "");
	expect(wd_file, IN_MODIFY, "");
	expect(wd_file, IN_CLOSE_WRITE, "");
	touch("once");
	expect(wd_once, IN_CLOSE_WRITE, "");
	expect(wd_once, IN_IGNORED, "");
}

static void check_fanotify(void)
{
	char buf[4096] __attribute__((aligned(8)));
	struct fanotify_event_metadata *e = (void *)buf;
	ssize_t n;

	CHECK((n = read(fan, buf, sizeof(buf))) > 0); /* dir/new of the child */
	SAME(e->mask, FAN_MODIFY);
	SAME(n, e->event_len);
	close(e->fd);
	touch("mount/file");
	CHECK(read(fan, buf, sizeof(buf)) > 0);
	SAME(e->mask & FAN_MODIFY, FAN_MODIFY);
	close(e->fd);
	drain(fan);
	if (fan_names >= 0) {
		CHECK(read(fan_names, buf, sizeof(buf)) > 0);
		SAME(e->mask, FAN_CREATE);
	}
}

int main(int argc, char **argv)
{
	struct fd_note notes[2];
	pid_t pid;

	subject_init(argc, argv);
	set_up_inotify();
	set_up_fanotify();
	set_up_deleted();
	NEED(inotify_add_watch(quiet, "dir", IN_CREATE) >= 0);
	note_text(notify, "inotify", texts[0]);
	note_text(quiet, "inotify", texts[1]);
	note_text(fan, "fanotify", texts[2]);
	if (fan_names >= 0)
		note_text(fan_names, "fanotify", texts[3]);
	fd_note(&notes[0], notify);
	fd_note(&notes[1], fan);
	pid = child(kid, NULL);
	ready();
	wait_term();
	fd_check(&notes[0], notify, false);
	fd_check(&notes[1], fan, false);
	same_text(notify, "inotify", texts[0]);
	same_text(quiet, "inotify", texts[1]);
	same_text(fan, "fanotify", texts[2]);
	if (fan_names >= 0)
		same_text(fan_names, "fanotify", texts[3]);
	check_inotify(pid);
	check_fanotify();
	check_deleted();
	pass();
}
