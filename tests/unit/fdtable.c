/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole descriptor table: collected from a stopped child, installed into a husk, collected from
 * the husk and compared: same numbers, kinds, close-on-exec and sharing.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "inject/husk.h"
#include "kinds/collect.h"
#include "kinds/store.h"
#include "tests/unit/tap.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

enum { FIRST = 40, MANY = 1500, COPIES = 200 };

static char dir[64];
static struct tap tap;

static void at(int fd, int number, int flags)
{
	if (fd == number) {
		fcntl(fd, F_SETFD, flags ? FD_CLOEXEC : 0);
		return;
	}
	if (fd < 0 || dup3(fd, number, flags) < 0)
		_exit(9);
	close(fd);
}

static int open_here(const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags, 0644);
}

/* Numbers from 0 on without a gap, so whatever arrives in the husk arrives at a wanted number. */
static void setup(void)
{
	struct itimerspec its = { .it_value = { 1000, 0 } };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = 0x123456789abcdef0 };
	struct flock lock = { .l_type = F_WRLCK, .l_start = 3, .l_len = 4 };
	int p[2], ep = epoll_create1(0), tfd = timerfd_create(CLOCK_MONOTONIC, 0);

	if (ep < 0 || tfd < 0 || timerfd_settime(tfd, 0, &its, NULL) < 0 || pipe(p) < 0)
		_exit(1);
	at(ep, 30, O_CLOEXEC);
	at(tfd, 31, 0);
	at(p[0], 33, 0);
	at(p[1], 32, 0);
	at(eventfd(5, 0), 34, 0);
	at(open_here("locked", O_RDWR | O_CREAT), 35, 0);
	at(open_here("flocked", O_RDWR | O_CREAT), 36, 0);
	at(open("/proc/self/status", O_RDONLY), 37, 0);
	if (write(32, "abc", 3) != 3 || fcntl(35, F_SETLK, &lock) < 0 || flock(36, LOCK_EX) < 0)
		_exit(1);
	for (int fd = 31; fd < 35; fd++) {
		ev.data.u64++;
		if (epoll_ctl(30, EPOLL_CTL_ADD, fd, &ev) < 0)
			_exit(1);
	}
	for (int i = 0; i < MANY; i++)
		at(open("/dev/null", O_RDWR), FIRST + i, i % 3 ? 0 : O_CLOEXEC);
	for (int i = 0; i < COPIES; i++)
		at(dup(FIRST + 2 * i), FIRST + MANY + i, 0);
	for (int i = 3; i < 30; i++)
		at(dup(32 + i % 3), i, 0);
	at(open("/dev/null", O_RDWR), 0, 0);
	at(dup(0), 1, 0);
	at(dup(0), 2, 0);
	if (chdir(dir) < 0)
		_exit(1);
	umask(031);
}

static pid_t spawn(void)
{
	struct rlimit limit = { 4096, 4096 };
	pid_t pid;

	getrlimit(RLIMIT_NOFILE, &limit);
	pid = fork();
	if (pid == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		close_range(3, ~0u, 0);
		setup();
		raise(SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, WUNTRACED);
	return pid;
}

static struct task *collect(struct world *w, struct image_set *images, const struct options *o,
	pid_t pid, pid_t as, struct err *err)
{
	struct file_collector *c = file_collector_new(w, images, o);
	struct task *t = NULL;
	int e = world_add_task(w, NULL, as, 1, &t, err);

	if (e == 0) {
		t->state = TASK_ALIVE;
		t->real = pid;
		t->fds = arena_new_of(w->arena, struct fdtable);
		t->fds->owner = t;
		e = file_collect_table(c, t, pid, err);
	}
	if (e == 0)
		e = file_collect_fs(c, t, pid, err);
	file_collector_free(c);
	return e == 0 ? t : NULL;
}

/* Same numbers, types and flags; equal ids on one side are equal on the other. */
static bool tables_equal(const struct fdtable *a, const struct fdtable *b)
{
	struct table ids = { 0 };
	bool same = a->n_fds == b->n_fds;

	for (size_t i = 0; same && i < a->n_fds; i++) {
		const FdinfoEntry *x = a->fds[i], *y = b->fds[i];
		void *known = table_get(&ids, x->id), *back = table_get(&ids, 1ull << 40 | y->id);

		same = x->fd == y->fd && x->flags == y->flags && x->type == y->type;
		same = same && (!known || known == (void *)(uintptr_t)y->id);
		same = same && (!back || back == (void *)(uintptr_t)x->id);
		if (!same)
			printf("# differs at descriptor %u / %u\n", x->fd, y->fd);
		table_put(&ids, x->id, (void *)(uintptr_t)y->id);
		table_put(&ids, 1ull << 40 | y->id, (void *)(uintptr_t)x->id);
	}
	table_done(&ids);
	return same;
}

static bool messages_equal(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	size_t n = protobuf_c_message_get_packed_size(a);
	auto_free uint8_t *x = malloc(n + 1), *y = malloc(n + 1);

	if (protobuf_c_message_get_packed_size(b) != n)
		return false;
	protobuf_c_message_pack(a, x);
	protobuf_c_message_pack(b, y);
	return !memcmp(x, y, n);
}

static const FileEntry *file_at(const struct world *w, const struct task *t, uint32_t fd)
{
	for (size_t i = 0; i < t->fds->n_fds; i++)
		if (t->fds->fds[i]->fd == fd)
			return world_file(w, t->fds->fds[i]->id);
	return NULL;
}

static bool epolls_equal(const FileEntry *a, const FileEntry *b)
{
	const EventpollFileEntry *x = a->epfd, *y = b->epfd;
	size_t found = 0;

	for (size_t i = 0; i < x->n_tfd; i++)
		for (size_t k = 0; k < y->n_tfd; k++)
			found += x->tfd[i]->tfd == y->tfd[k]->tfd &&
				x->tfd[i]->events == y->tfd[k]->events &&
				x->tfd[i]->data == y->tfd[k]->data;
	return x->n_tfd == 4 && y->n_tfd == 4 && found == 4;
}

static void compare(struct world *a, struct task *x, struct world *b, struct task *y)
{
	const FileEntry *f, *g;
	char want[80];

	tap_ok(&tap, tables_equal(x->fds, y->fds), "the tables are equal", NULL);
	tap_ok(&tap, a->entries[IMG_FILES].n == b->entries[IMG_FILES].n, "as many descriptions", NULL);
	tap_ok(&tap, epolls_equal(file_at(a, x, 30), file_at(b, y, 30)), "epoll watches the same", NULL);
	tap_ok(&tap, file_at(b, y, 34)->efd->counter == 5, "eventfd", NULL);
	tap_ok(&tap, a->entries[IMG_FILE_LOCKS].n == 2 && b->entries[IMG_FILE_LOCKS].n == 2 &&
			messages_equal(a->entries[IMG_FILE_LOCKS].at[0]->msg,
				b->entries[IMG_FILE_LOCKS].at[0]->msg) &&
			messages_equal(a->entries[IMG_FILE_LOCKS].at[1]->msg,
				b->entries[IMG_FILE_LOCKS].at[1]->msg),
		"file locks", NULL);
	f = world_file(a, x->fs->cwd_id);
	g = world_file(b, y->fs->cwd_id);
	snprintf(want, sizeof(want), "%s", dir);
	tap_ok(&tap, !strcmp(f->reg->name, want) && !strcmp(g->reg->name, want), "working directory", NULL);
	tap_ok(&tap, y->fs->umask == 031 && x->fs->umask == 031, "umask", NULL);
}

static void round_trip(struct image_set *images, const struct options *o)
{
	struct husk_layout layout = { .area = 0x300000000000, .area_len = HUSK_AREA_LEN };
	struct world *a = world_new(), *b = world_new();
	struct err err = ERR_INIT;
	struct file_store *s;
	struct task *x, *y = NULL;
	struct husk_queue q = { 0 };
	struct husk h;
	pid_t child = spawn();
	uint64_t t0 = clock_us(), t1;
	int r;

	x = collect(a, images, o, child, child, &err);
	tap_ok(&tap, x != NULL, "collect from the child", &err);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	if (!x)
		return;
	s = file_store_new(a, images, o);
	r = husk_start(&h, &layout, child, false, &err);
	tap_ok(&tap, r == 0, "husk", &err);
	t1 = clock_us();
	r = r < 0 ? r : file_store_install(s, &q, &h, x, &err);
	r = r < 0 ? r : husk_settle(&q, &err);
	tap_ok(&tap, r == 0, "install", &err);
	r = r < 0 ? r : file_store_connect(s, &err);
	r = r < 0 ? r : file_store_tell(s, &h, x, &err);
	r = r < 0 ? r : file_store_set_fs(s, &q, &h, x, &err);
	r = r < 0 ? r : husk_settle(&q, &err);
	tap_ok(&tap, r == 0, "connect, tell, folders", &err);
	printf("# %zu descriptors: collected in %llu us, installed in %llu us\n", x->fds->n_fds,
		(unsigned long long)(t1 - t0), (unsigned long long)(clock_us() - t1));
	if (r == 0)
		y = collect(b, images, o, h.pid, child, &err);
	tap_ok(&tap, y != NULL, "collect from the husk", &err);
	if (y)
		compare(a, x, b, y);
	husk_queue_done(&q);
	file_store_free(s);
	husk_layout_done(&layout);
	kill(h.pid, SIGKILL);
	waitpid(h.pid, NULL, __WALL);
	world_free(a);
	world_free(b);
}

int main(void)
{
	struct options o = { .ghost_limit = 1 << 20, .file_validation = (char *)"buildid",
		.file_locks = true };
	struct image_set *images = NULL;
	struct err err = ERR_INIT;
	auto_close int dirfd = -1;
	char cmd[128];

	snprintf(dir, sizeof(dir), "/tmp/torpor-unit-install-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	tap_ok(&tap, image_set_open(dirfd, true, &images, &err) == 0, "image set", &err);
	round_trip(images, &o);
	image_set_discard(images);
	image_set_close(images);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	if (system(cmd) != 0)
		return 1;
	return tap_done(&tap);
}
