/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Descriptors of a stopped child are collected and made again in this process, which then looks
 * at them: offsets, flags, what is shared, queued bytes, counts, ghosts.
 */
#include "base/cleanup.h"
#include "kinds/collect.h"
#include "kinds/store.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int n_tests, n_failed;

static void ok(bool good, const char *what, const struct err *err)
{
	char buf[1400] = "";

	n_tests++;
	n_failed += !good;
	if (!good && err && err_is_set(err))
		err_text(err, buf, sizeof(buf));
	printf("%sok %d - %s%s%s\n", good ? "" : "not ", n_tests, what, *buf ? ": " : "", buf);
	fflush(stdout);
}

struct rig {
	char dir[64];
	int dirfd;
	struct image_set *images;
	struct world *world;
	struct options options;
	struct task *task;
	pid_t child;
};

static void rig_begin(struct rig *r)
{
	struct err err = ERR_INIT;

	*r = (struct rig){ .dirfd = -1 };
	snprintf(r->dir, sizeof(r->dir), "/tmp/torpor-unit-files-XXXXXX");
	if (!mkdtemp(r->dir))
		abort();
	r->dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r->options.ghost_limit = 1 << 20;
	r->options.file_validation = (char *)"buildid";
	r->options.file_locks = true;
	r->world = world_new();
	if (image_set_open(r->dirfd, true, &r->images, &err) < 0)
		abort();
}

static void rig_end(struct rig *r)
{
	char cmd[128];

	if (r->child > 0) {
		kill(r->child, SIGKILL);
		waitpid(r->child, NULL, 0);
	}
	image_set_discard(r->images);
	image_set_close(r->images);
	world_free(r->world);
	close(r->dirfd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", r->dir);
	if (system(cmd) != 0)
		abort();
}

/* Runs setup() in a child which then stops itself. */
static void spawn(struct rig *r, void (*setup)(const char *dir))
{
	int null;

	r->child = fork();
	if (r->child == 0) {
		close_range(3, ~0u, 0);
		setup(r->dir);
		null = open("/dev/null", O_RDWR);
		for (int i = 0; i < 3; i++)
			dup2(null, i);
		close(null);
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(r->child, NULL, WUNTRACED);
}

static int collect(struct rig *r, struct err *err)
{
	struct file_collector *c = file_collector_new(r->world, r->images, &r->options);
	int e = world_add_task(r->world, NULL, r->child, 1, &r->task, err);

	if (e == 0) {
		r->task->state = TASK_ALIVE;
		r->task->real = r->child;
		r->task->fds = arena_new_of(r->world->arena, struct fdtable);
		r->task->fds->owner = r->task;
		e = file_collect_table(c, r->task, r->child, err);
	}
	if (e == 0)
		e = file_collect_fs(c, r->task, r->child, err);
	if (e == 0)
		e = file_collect_finish(c, err);
	file_collector_free(c);
	return e;
}

static const FdinfoEntry *entry_of(const struct rig *r, int fd)
{
	for (size_t i = 0; i < r->task->fds->n_fds; i++)
		if (r->task->fds->fds[i]->fd == (uint32_t)fd)
			return r->task->fds->fds[i];
	return NULL;
}

/* Makes what the child has as fd; -1 with a failed test. */
static int make(const struct rig *r, struct file_store *s, int fd)
{
	const FdinfoEntry *e = entry_of(r, fd);
	struct err err = ERR_INIT;
	int got = -1;

	if (e && file_store_get(s, e->id, &got, &err) == 0)
		return got;
	ok(false, "descriptor made", &err);
	return -1;
}

static void at(int fd, int number)
{
	if (fd < 0 || dup2(fd, number) < 0)
		_exit(9);
	if (fd != number)
		close(fd);
}

static int open_in(const char *dir, const char *name, int flags, mode_t mode)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags, mode);
}

static void unlink_in(const char *dir, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	unlink(path);
}

/* ---- files ---- */

static void files_setup(const char *dir)
{
	char big[20000];
	int p[2];

	memset(big, 'x', sizeof(big));
	at(open_in(dir, "data", O_RDWR | O_CREAT, 0640), 10);
	if (write(10, "0123456789", 10) != 10 || lseek(10, 4, SEEK_SET) != 4)
		_exit(1);
	at(dup(10), 11);
	at(open_in(dir, "data", O_RDONLY | O_CLOEXEC, 0), 12);
	fcntl(12, F_SETFD, FD_CLOEXEC);
	at(open_in(dir, "data", O_WRONLY | O_APPEND, 0), 13);
	at(open_in(dir, "gone", O_RDWR | O_CREAT, 0604), 14);
	if (write(14, "ghost", 5) != 5)
		_exit(1);
	at(open_in(dir, "gone", O_RDONLY, 0), 15);
	unlink_in(dir, "gone");
	at(open(dir, O_TMPFILE | O_RDWR, 0600), 16);
	if (ftruncate(16, 100000) < 0 || pwrite(16, big, sizeof(big), 40000) != sizeof(big))
		_exit(1);
	at(open_in(dir, "data", O_PATH, 0), 17);
	at(open(dir, O_RDONLY | O_DIRECTORY), 18);
	at(open("/dev/full", O_RDWR), 19);
	if (pipe2(p, O_NONBLOCK) < 0)
		_exit(1);
	at(p[0], 20);
	at(p[1], 21);
	if (fcntl(21, F_SETPIPE_SZ, 16384) != 16384 || write(21, big, 9000) != 9000)
		_exit(1);
	at(open("/proc/self/fd/20", O_RDONLY), 22);
	at(eventfd(7, EFD_SEMAPHORE | EFD_NONBLOCK), 23);
	if (pipe2(p, O_DIRECT) < 0 || write(p[1], "one", 3) != 3 || write(p[1], "two!", 4) != 4)
		_exit(1);
	at(p[0], 24);
	close(p[1]);
	at(memfd_create("mem", MFD_ALLOW_SEALING), 25);
	if (ftruncate(25, 5000) < 0 || fcntl(25, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_WRITE) < 0)
		_exit(1);
	fcntl(10, F_SETOWN, getpid());
	fcntl(10, F_SETSIG, SIGUSR1);
	if (umask(027) != 022)
		umask(027);
}

static void files_look(struct rig *r, struct file_store *s)
{
	struct f_owner_ex own = { 0 };
	char buf[32] = "";
	struct stat st;
	int fd = make(r, s, 10);

	ok(lseek(fd, 0, SEEK_CUR) == 4, "offset", NULL);
	ok(entry_of(r, 10)->id == entry_of(r, 11)->id, "duplicate is the same description", NULL);
	ok(entry_of(r, 10)->id != entry_of(r, 12)->id, "another open is another one", NULL);
	ok(entry_of(r, 12)->flags == 1 && entry_of(r, 11)->flags == 0, "close-on-exec", NULL);
	ok(fcntl(fd, F_GETOWN_EX, &own) == 0 && own.pid == r->child && fcntl(fd, F_GETSIG) == SIGUSR1,
		"owner and signal", NULL);
	fd = make(r, s, 13);
	ok((fcntl(fd, F_GETFL) & (O_APPEND | O_ACCMODE)) == (O_APPEND | O_WRONLY), "append", NULL);
	ok(fcntl(make(r, s, 17), F_GETFL) & O_PATH, "path only", NULL);
	ok(fstat(make(r, s, 18), &st) == 0 && S_ISDIR(st.st_mode), "folder", NULL);
	ok(write(make(r, s, 19), "x", 1) < 0 && errno == ENOSPC, "/dev/full", NULL);
	fd = make(r, s, 14);
	ok(fstat(fd, &st) == 0 && st.st_nlink == 0 && (st.st_mode & 07777) == 0604 && st.st_size == 5,
		"ghost has mode and size and no name", NULL);
	ok(pread(fd, buf, 5, 0) == 5 && !memcmp(buf, "ghost", 5), "ghost content", NULL);
	ok(pwrite(fd, "G", 1, 0) == 1 && pread(make(r, s, 15), buf, 5, 0) == 5 && buf[0] == 'G',
		"two descriptions of one ghost", NULL);
	fd = make(r, s, 16);
	ok(fstat(fd, &st) == 0 && st.st_size == 100000 && st.st_blocks * 512 < 50000 &&
		pread(fd, buf, 2, 39999) == 2 && buf[0] == 0 && buf[1] == 'x', "sparse ghost", NULL);
	ok(fcntl(make(r, s, 25), F_GET_SEALS) == (F_SEAL_GROW | F_SEAL_WRITE), "memfd seals", NULL);
}

static void queues_look(struct rig *r, struct file_store *s)
{
	char buf[20000];
	uint64_t v = 0;
	int n = 0, rd = make(r, s, 20), wr, again;

	ok(fcntl(rd, F_GETPIPE_SZ) == 16384, "pipe size", NULL);
	ok(ioctl(rd, FIONREAD, &n) == 0 && n == 9000, "pipe bytes", NULL);
	wr = make(r, s, 21);
	again = make(r, s, 22);
	ok(rd != again && write(wr, "y", 1) == 1 && read(again, buf, sizeof(buf)) == 9001,
		"two descriptions of one end", NULL);
	ok((fcntl(rd, F_GETFL) & O_NONBLOCK) && !(fcntl(again, F_GETFL) & O_NONBLOCK), "pipe flags",
		NULL);
	ok(read(make(r, s, 23), &v, 8) == 8 && v == 1, "eventfd semaphore", NULL);
	rd = make(r, s, 24);
	ok(read(rd, buf, 20) == 3 && read(rd, buf, 20) == 4 && read(rd, buf, 20) == 0,
		"packets, then end of file", NULL);
}

static void test_files(void)
{
	struct err err = ERR_INIT;
	struct file_store *s;
	struct rig r;
	char path[128];

	rig_begin(&r);
	spawn(&r, files_setup);
	ok(collect(&r, &err) == 0, "collect", &err);
	if (!err_is_set(&err)) {
		ok(r.task->fs && r.task->fs->umask == 027, "umask", NULL);
		s = file_store_new(r.world, r.images, &r.options);
		files_look(&r, s);
		queues_look(&r, s);
		ok(file_store_connect(s, &err) == 0, "connect", &err);
		file_store_free(s);
	}
	snprintf(path, sizeof(path), "%s/gone", r.dir);
	ok(access(path, F_OK) < 0, "no ghost name is left", NULL);
	rig_end(&r);
}

/* ---- refusals ---- */

static void uffd_setup(const char *dir)
{
	at((int)syscall(SYS_userfaultfd, O_CLOEXEC), 7);
}

static void fsopen_setup(const char *dir)
{
	at((int)syscall(SYS_fsopen, "tmpfs", 0), 8);
}

static void linked_setup(const char *dir)
{
	char a[128], b[128];

	at(open_in(dir, "one", O_RDWR | O_CREAT, 0600), 7);
	snprintf(a, sizeof(a), "%s/one", dir);
	snprintf(b, sizeof(b), "%s/two", dir);
	if (link(a, b) < 0 || unlink(a) < 0)
		_exit(1);
}

static void large_setup(const char *dir)
{
	char buf[4096] = "x";

	at(open_in(dir, "big", O_RDWR | O_CREAT, 0600), 7);
	for (int i = 0; i < 300; i++)
		if (write(7, buf, sizeof(buf)) != sizeof(buf))
			_exit(1);
	unlink_in(dir, "big");
}

static void test_refusal(void (*setup)(const char *), const char *word, const char *what)
{
	struct err err = ERR_INIT;
	struct rig r;
	int e;

	rig_begin(&r);
	spawn(&r, setup);
	e = collect(&r, &err);
	ok(e < 0 && strstr(err.text, word), what, &err);
	printf("# %s\n", err.text);
	rig_end(&r);
}

/* ---- changed files ---- */

static void one_file_setup(const char *dir)
{
	at(open_in(dir, "data", O_RDWR | O_CREAT, 0640), 10);
	if (write(10, "0123456789", 10) != 10)
		_exit(1);
}

static void test_changed(void)
{
	struct err err = ERR_INIT;
	struct file_store *s;
	struct rig r;
	char path[128];
	int fd;

	rig_begin(&r);
	spawn(&r, one_file_setup);
	ok(collect(&r, &err) == 0, "collect", &err);
	snprintf(path, sizeof(path), "%s/data", r.dir);
	s = file_store_new(r.world, r.images, &r.options);
	ok(truncate(path, 5) == 0 && file_store_get(s, entry_of(&r, 10)->id, &fd, &err) < 0 &&
		strstr(err.text, "has 5 bytes now, 10 at the dump"), "changed size", &err);
	err_clear(&err);
	ok(truncate(path, 10) == 0 && chmod(path, 0600) == 0 &&
		file_store_get(s, entry_of(&r, 10)->id, &fd, &err) < 0 && strstr(err.text, "mode 0600"),
		"changed mode", &err);
	err_clear(&err);
	unlink(path);
	ok(file_store_get(s, entry_of(&r, 10)->id, &fd, &err) < 0 && strstr(err.text, path), "removed",
		&err);
	file_store_free(s);
	rig_end(&r);
}

/* ---- many ---- */

static void many_setup(const char *dir)
{
	struct rlimit limit = { 4096, 20000 };

	setrlimit(RLIMIT_NOFILE, &limit);
	for (int i = 10; i < 3000; i++)
		at(open("/dev/null", O_RDWR), i);
	for (int i = 3000; i < 3500; i++)
		at(dup(i - 2000), i);
}

static void test_many(void)
{
	struct err err = ERR_INIT;
	struct rig r;

	rig_begin(&r);
	spawn(&r, many_setup);
	ok(collect(&r, &err) == 0, "collect 3,500 descriptors of /dev/null", &err);
	if (!err_is_set(&err)) {
		ok(entry_of(&r, 3499)->id == entry_of(&r, 1499)->id &&
			entry_of(&r, 1500)->id != entry_of(&r, 1499)->id, "found the duplicates", NULL);
		ok(r.world->entries[IMG_FILES].n < 3000 + 10, "one entry per description", NULL);
	}
	rig_end(&r);
}

int main(void)
{
	test_files();
	test_refusal(uffd_setup, "descriptor 7 is a userfaultfd", "userfaultfd");
	test_refusal(fsopen_setup, "descriptor 8", "what no room knows");
	test_refusal(linked_setup, "--link-remap", "name lost, but not all");
	test_refusal(large_setup, "--ghost-limit", "large ghost");
	test_changed();
	test_many();
	printf("1..%d\n", n_tests);
	return n_failed != 0;
}
