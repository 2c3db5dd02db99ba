// SPDX-License-Identifier: GPL-2.0-or-later
/* Tapes in a living target (hold) and in husks, without images. */
#include "inject/hold.h"
#include "inject/husk.h"
#include "base/io.h"
#include "base/cleanup.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

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

/* The subject sleeps in a way that tells an interrupted call: exit code 7 after a whole sleep. */
static pid_t spawn_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct timespec t = { .tv_nsec = 300000000 };

		if (nanosleep(&t, NULL) < 0)
			_exit(1);
		_exit(7);
	}
	usleep(20000);
	return pid;
}

/* Adds up for ever in registers; exits with 8 at SIGTERM if the sum is right. */
static volatile sig_atomic_t told;

static void on_term(int sig)
{
	told = sig;
}

static pid_t spawn_adder(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		unsigned long n = 0, sum = 0;

		signal(SIGTERM, on_term);
		while (!told) {
			sum += n;
			n++;
		}
		_exit(sum == n * (n - 1) / 2 ? 8 : 1);
	}
	usleep(20000);
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
	return r < 0 ? r : tracee_wait_stop(t, clock_us() + 1000000, err);
}

static void test_hold(pid_t pid, int want, int term, const char *name)
{
	struct err err = ERR_INIT;
	struct tape *tape = tape_new();
	struct tracee t;
	struct hold h;
	size_t a, b, c, d;
	uint64_t got;
	int r = stop(&t, pid, &err);

	ok(r == 0, "stop", &err);
	r = r < 0 ? r : hold_begin(&h, &(struct tracee *){ &t }, 1, &err);
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
	if (term) {
		usleep(20000);
		kill(pid, term);
	}
	r = exit_code(pid);
	if (r != want)
		printf("# exit code %d\n", r);
	ok(r == want, name, NULL);
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
	ok(r == 0 && strstr(maps, "vdso") && !strstr(maps, "stack"), "only the area is mapped",
		NULL);
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
	r = hold_begin(&h, &(struct tracee *){ &t }, 1, &err);
	ok(r < 0 && strstr(err.text, "prlimit --as"), "it cannot be asked, and what helps", NULL);
	err_clear(&err);
	prlimit(pid, RLIMIT_AS, &all, NULL);
	r = hold_begin(&h, &(struct tracee *){ &t }, 1, &err);
	ok(r == 0, "then it can", &err);
	if (r == 0)
		hold_end(&h, 1);
	tracee_release(&t);
	kill(pid, SIGTERM);
	ok(exit_code(pid) == 8, "and it goes on", NULL);
}

int main(void)
{
	test_hold(spawn_sleeper(), 7, 0, "an interrupted nanosleep goes on");
	test_hold(spawn_adder(), 8, SIGTERM, "a computation goes on");
	test_full(spawn_adder());
	test_husk();
	printf("1..%d\n", n_tests);
	return n_failed != 0;
}
