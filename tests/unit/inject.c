// SPDX-License-Identifier: GPL-2.0-or-later
/* Tapes in a living target (hold) and in husks, without images. */
#include "inject/hold.h"
#include "inject/husk_queue.h"
#include "base/io.h"
#include "base/cleanup.h"
#include "tests/unit/patience.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int n_tests, n_failed;

static void ok(bool good, const char *what, const struct err *err)
{
	char buf[1400] = "";

	n_tests++;
	n_failed += !good;
	if (!good && err_is_set(err))
		err_text(err, buf, sizeof(buf));
	printf("%sok %d - %s%s%s\n", good ? "" : "not ", n_tests, what, *buf ? ": " : "", buf);
	fflush(stdout);
}

/* A child with one end of a pipe; the other end is ours. */
static pid_t spawn(void (*body)(int end), int ours, int *ret_end)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		abort();
	pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0) {
		close(ends[ours]);
		body(ends[!ours]);
		_exit(99);
	}
	close(ends[!ours]);
	*ret_end = ends[ours];
	return pid;
}

/*
 * The subject waits in a way that tells an interrupted call: exit code 7 after a whole one. It has
 * a timeout, so the kernel can only go on with it by restart_syscall(2).
 */
static void wait_for_input(int end)
{
	struct pollfd p = { .fd = end, .events = POLLIN };

	_exit(poll(&p, 1, 600000) == 1 ? 7 : 1);
}

static pid_t spawn_waiter(int *ret_end)
{
	pid_t pid = spawn(wait_for_input, 1, ret_end);

	ok(sleeps_in_call(pid, SYS_poll), "the subject waits", NULL);
	return pid;
}

/* Adds up for ever in registers; exits with 8 at SIGTERM if the sum is right. */
static volatile sig_atomic_t told;

static void on_term(int sig)
{
	told = sig;
}

static void add_up(int end)
{
	unsigned long n = 0, sum = 0;

	signal(SIGTERM, on_term);
	if (write(end, "r", 1) != 1)
		_exit(2);
	while (!told) {
		sum += n;
		n++;
	}
	/* the product may need more bits than the sum */
	_exit(sum == (unsigned long)((unsigned __int128)n * (n - 1) / 2) ? 8 : 1);
}

static pid_t spawn_adder(void)
{
	char byte;
	int end;
	pid_t pid = spawn(add_up, 0, &end);

	ok(read(end, &byte, 1) == 1, "the subject computes", NULL);
	close(end);
	return pid;
}

static int exit_code(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int stop(struct tracee *t, pid_t pid, struct err *err)
{
	int r = tracee_seize(t, pid, pid, PTRACE_O_TRACESYSGOOD, err);

	if (r == 0)
		r = tracee_interrupt(t, err);
	return r < 0 ? r : tracee_wait_stop(t, patience_ends(), NULL, err);
}

static void test_hold(pid_t pid)
{
	struct err err = ERR_INIT;
	struct tape *tape = tape_new();
	struct tracee t;
	struct hold h;
	size_t a, b, c, d;
	uint64_t got;
	int r = stop(&t, pid, &err);

	ok(r == 0, "stop", &err);
	r = r < 0 ? r : hold_begin(&h, &(struct tracee *){ &t }, 1, 60, &err);
	ok(r == 0, "hold_begin", &err);
	if (r < 0)
		return;
	for (int round = 0; round < 3; round++) {
		tape_reset(tape);
		a = tape_call0(tape, "test", 0, SYS_getpid);
		d = tape_room(tape, 64);
		b = tape_call(tape, "test", 0, SYS_rt_sigprocmask, T(0), T(0), T_DATA(d), T(8));
		c = tape_call(tape, "test", 0, SYS_getpgid, T_RESULT(a));
		r = hold_play(&(struct hold_turn){ .h = &h, .t = &t, .tape = tape }, 1, &err);
		memcpy(&got, tape_at(tape, d), 8);
		ok(r == 0 && tape_result(tape, a) == pid && tape_result(tape, b) == 0 &&
				tape_result(tape, c) == getpgid(pid) && got != 0,
			"play", &err);
	}
	hold_end(&h, 1);
	tracee_release(&t);
	tape_free(tape);
}

static void ends_with(pid_t pid, int want, const char *what)
{
	int code = exit_code(pid);

	if (code != want)
		printf("# exit code %d\n", code);
	ok(code == want, what, NULL);
}

/* What the task was doing when it was held has its right end. */
static void test_holds(void)
{
	int end;
	pid_t waiter = spawn_waiter(&end), adder = spawn_adder();

	test_hold(waiter);
	ok(write(end, "x", 1) == 1, "input", NULL);
	ends_with(waiter, 7, "an interrupted poll goes on");
	close(end);
	test_hold(adder);
	kill(adder, SIGTERM);
	ends_with(adder, 8, "a computation goes on");
}

static void test_husk(void)
{
	struct err err = ERR_INIT;
	struct husk_layout layout = { .area = 0x300000000000 };
	struct husk h, child;
	struct tape *t = tape_new();
	pid_t tids[3] = { 0, 0, 0 }, real[3];
	int fds[2], numbers[2] = { -1, -1 };
	auto_free char *maps = NULL;
	size_t a, m;
	int r = husk_start(&h, &layout, 0, false, &err);

	ok(r == 0, "husk_start", &err);
	if (r < 0)
		return;
	r = io_slurpf(&maps, NULL, "/proc/%d/maps", h.pid);
	printf("# %s", maps);
	ok(r == 0 && strstr(maps, "vdso") && !strstr(maps, "stack"), "only the area is mapped", NULL);
	a = tape_call0(t, "test", 0, SYS_getpid);
	m = tape_call(t, "test", TAPE_MUST, SYS_mmap, T(0x10000), T(8192), T(3),
		T(MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED), T(-1), T(0));
	r = husk_play(&h, 0, t, &err);
	ok(r == 0 && tape_result(t, a) == h.pid && tape_result(t, m) == 0x10000, "husk_play", &err);
	tape_reset(t);
	tape_call(t, "test", TAPE_MUST, SYS_close, T(77));
	r = husk_play(&h, 0, t, &err);
	ok(r == -EBADF && strstr(err.text, "close failed") && strstr(err.text, "'test'"),
		"a failed call is explained", &err);
	err_clear(&err);
	if (pipe(fds) == 0)
		r = husk_send(&h, fds, 2, numbers, &err);
	ok(r == 0 && numbers[0] > 3 && numbers[1] > 3, "husk_send", &err);
	r = husk_fork(&h, &(struct husk_birth){ 0 }, &child, &err);
	ok(r == 0 && child.pid > 0, "husk_fork", &err);
	r = husk_threads(&h, tids, 3, real, &err);
	ok(r == 0, "husk_threads", &err);
	tape_reset(t);
	a = tape_call0(t, "test", 0, SYS_gettid);
	r = husk_play(&h, real[1], t, &err);
	ok(r == 0 && tape_result(t, a) == real[1], "play in a thread", &err);
	r = husk_exit(&child, 5, 0, &err);
	ok(r == 0, "husk_exit", &err);
	tape_reset(t);
	m = tape_room(t, 16);
	a = tape_call(t, "test", TAPE_MUST, SYS_wait4, T(child.pid), T_DATA(m), T(0), T(0));
	r = husk_play(&h, 0, t, &err);
	ok(r == 0 && tape_result(t, a) == child.pid && *(const int *)tape_at(t, m) == 5 << 8,
		"its parent reaps the child", &err);
	r = husk_unmap_areas(&(struct husk_turn){ .h = &h }, 1, &err);
	ok(r == 0, "husk_unmap_areas", &err);
	kill(h.pid, SIGKILL);
	for (int i = 0; i < 3; i++)
		waitpid(real[i], NULL, __WALL);
	waitpid(h.pid, NULL, 0);
	husk_done(&h);
	husk_done(&child);
	tape_free(t);
}

enum { FAMILY = 40, FAILS = 17 };

struct story {
	int index, told, played;
};

static int hear(void *ctx, const struct tape *tape, int played, struct err *err)
{
	struct story *s = ctx;

	s->told++;
	s->played = played;
	return played < 0 ? err_while(err, "telling story %d", s->index) : 0;
}

/* A tape for each child that is too long for all of them to be there at the same time. */
static void queue_family(struct husk_queue *q, struct husk *h, struct story *stories, int fails)
{
	static const uint8_t ballast[64 * 1024];

	for (int i = 0; i < FAMILY; i++) {
		struct tape *t = tape_new();

		tape_data(t, ballast, sizeof(ballast));
		tape_call(t, "test", TAPE_MUST, i == fails ? SYS_close : SYS_getpid, T(77));
		stories[i] = (struct story){ .index = i };
		husk_later(q, &h[i], 0, t, hear, &stories[i]);
	}
}

static bool all_told(const struct story *stories, int but)
{
	for (int i = 0; i < FAMILY; i++)
		if (stories[i].told != 1 || (i != but && stories[i].played != (but < 0 ? 0 : -ECANCELED)))
			return false;
	return but < 0 || stories[but].played == -EBADF;
}

static void fork_family(struct husk *h, struct husk *children)
{
	struct husk_birth births[FAMILY] = { 0 };
	struct husk *list[FAMILY], more[4];
	struct err err = ERR_INIT;
	int r;

	for (int i = 0; i < FAMILY; i++)
		list[i] = &children[i];
	r = husk_fork_all(h, births, list, FAMILY, &err);
	ok(r == 0 && children[0].pid > 0 && children[FAMILY - 1].pid > 0, "husk_fork_all", &err);
	/* flags that do not go together: those before it are there, and known */
	births[2].flags = CLONE_SIGHAND;
	for (int i = 0; i < 4; i++)
		list[i] = &more[i];
	r = husk_fork_all(h, births, list, 4, &err);
	ok(r == -EINVAL && list[0]->pid > 0 && list[1]->pid > 0 && list[2]->pid == 0 &&
			list[3]->pid == 0, "after a failed fork it is known who is there", NULL);
	for (int i = 0; i < 2; i++) {
		kill(list[i]->pid, SIGKILL);
		waitpid(list[i]->pid, NULL, __WALL);
	}
}

static void test_queue(void)
{
	struct husk_layout layout = { .area = 0x300000000000 };
	struct husk h, children[FAMILY];
	struct story stories[FAMILY];
	struct husk_queue q = { 0 };
	struct err err = ERR_INIT;
	char what[64];
	int r = husk_start(&h, &layout, 0, false, &err);

	ok(r == 0, "husk_start", &err);
	if (r < 0)
		return;
	fork_family(&h, children);
	queue_family(&q, children, stories, -1);
	r = husk_settle(&q, &err);
	ok(r == 0 && all_told(stories, -1) && q.n == 0, "tapes of 40 husks together", &err);
	queue_family(&q, children, stories, FAILS);
	r = husk_settle(&q, &err);
	snprintf(what, sizeof(what), "task %d: close failed", children[FAILS].pid);
	ok(r == -EBADF && all_told(stories, FAILS) && strstr(err.text, what) &&
			!strcmp(err.trail, ", while telling story 17"),
		"one fails: its own story is told with the error", NULL);
	err_clear(&err);
	queue_family(&q, children, stories, -1);
	husk_queue_done(&q);
	ok(stories[0].told == 1 && stories[0].played == -ECANCELED, "giving up", NULL);
	r = husk_unmap_areas(&(struct husk_turn){ .h = &children[3] }, 1, &err);
	ok(r == 0, "the area of one goes", &err);
	for (int i = 0; i < FAMILY; i++) {
		kill(children[i].pid, SIGKILL);
		waitpid(children[i].pid, NULL, __WALL);
	}
	kill(h.pid, SIGKILL);
	waitpid(h.pid, NULL, 0);
	husk_layout_done(&layout);
}

/* A result that a struct in the data gets while the tape plays. */
static void test_store(void)
{
	struct husk_layout layout = { .area = 0x300000000000 };
	struct pollfd p = { .fd = -1, .events = POLLIN };
	struct tape *t = tape_new();
	struct err err = ERR_INIT;
	size_t fd, at, got;
	struct husk h;
	int mine = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r = husk_start(&h, &layout, 0, false, &err);

	fd = tape_take(t, h.lender_fd, mine);
	at = tape_data(t, &p, sizeof(p));
	tape_store(t, fd, at + offsetof(struct pollfd, fd));
	got = tape_call(t, "test", TAPE_MUST, SYS_poll, T_DATA(at), T(1), T(0));
	r = r < 0 ? r : husk_play(&h, 0, t, &err);
	memcpy(&p, tape_at(t, at), sizeof(p));
	ok(r == 0 && tape_result(t, got) == 1 && p.revents == POLLIN && p.fd == tape_result(t, fd),
		"a descriptor that is taken gets into a struct", &err);
	tape_free(t);
	kill(h.pid, SIGKILL);
	waitpid(h.pid, NULL, 0);
	close(mine);
	husk_done(&h);
	husk_layout_done(&layout);
}

/* A task that may not map anything more: the error says what would help, and it goes on. */
static void test_full(pid_t pid)
{
	const struct rlimit none = { 0, RLIM_INFINITY }, all = { RLIM_INFINITY, RLIM_INFINITY };
	struct err err = ERR_INIT;
	struct tracee t;
	struct hold h;
	int r = prlimit(pid, RLIMIT_AS, &none, NULL) < 0 ? -errno : stop(&t, pid, &err);

	ok(r == 0, "stop a task that is at its limit of address space", &err);
	if (r < 0)
		return;
	r = hold_begin(&h, &(struct tracee *){ &t }, 1, 60, &err);
	ok(r < 0 && strstr(err.text, "prlimit --as"), "it cannot be asked, and what helps", NULL);
	err_clear(&err);
	prlimit(pid, RLIMIT_AS, &all, NULL);
	r = hold_begin(&h, &(struct tracee *){ &t }, 1, 60, &err);
	ok(r == 0, "then it can", &err);
	if (r == 0)
		hold_end(&h, 1);
	tracee_release(&t);
	kill(pid, SIGTERM);
	ends_with(pid, 8, "and it goes on");
}

int main(void)
{
	test_holds();
	test_full(spawn_adder());
	test_husk();
	test_queue();
	test_store();
	printf("1..%d\n", n_tests);
	return n_failed != 0;
}
