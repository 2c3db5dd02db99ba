/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seccomp_filter: chains of filters: two in one process, inherited by a child that adds a third;
 * set for all threads by TSYNC; a thread that has one for itself. Each filter answers one call with
 * an errno of its own, which shows that it is in force.
 */
#include "subject.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>

static volatile int up, go;

/* Answers call nr with error number err. */
static void filter(int nr, int err, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = 4, .filter = code };

	NEED(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog) == 0);
}

static int answer(int nr)
{
	return syscall(nr, 0, 0, 0, 0) < 0 ? errno : 0;
}

static void expect(int nr, int err)
{
	int got = answer(nr);

	if (got != err)
		fail("call %d in %d gives %d, not %d", nr, (int)syscall(SYS_gettid), got, err);
}

static void grandchild(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	expect(SYS_getuid, 71);
	expect(SYS_getgid, 72);
	expect(SYS_geteuid, 73);
	SAME(key_value("/proc/self/status", "Seccomp"), 2);
	SAME(key_value("/proc/self/status", "Seccomp_filters"), 3);
}

static void grandchild_adds(void *arg)
{
	filter(SYS_geteuid, 73, 0);
	grandchild(arg);
}

static void chain(void *arg)
{
	pid_t pid;

	(void)arg;
	filter(SYS_getuid, 71, 0);
	filter(SYS_getgid, 72, 0);
	pid = child(grandchild_adds, NULL);
	child_up();
	wait_term();
	expect(SYS_getuid, 71);
	expect(SYS_getgid, 72);
	expect(SYS_geteuid, 0);
	SAME(key_value("/proc/self/status", "Seccomp_filters"), 2);
	child_end(pid);
}

static void *alone(void *arg)
{
	if (arg)
		filter(SYS_getppid, 80, 0);
	__sync_fetch_and_add(&up, 1);
	while (!go)
		usleep(1000);
	expect(SYS_getuid, 81); /* from TSYNC */
	if (arg)
		expect(SYS_getppid, 80);
	else
		CHECK(getppid() > 0);
	return NULL;
}

static void threads(void *arg)
{
	pthread_t t[2];

	(void)arg;
	up = 0;
	NEED(pthread_create(&t[0], NULL, alone, NULL) == 0);
	while (up < 1)
		usleep(1000);
	filter(SYS_getuid, 81, SECCOMP_FILTER_FLAG_TSYNC);
	NEED(pthread_create(&t[1], NULL, alone, t) == 0);
	while (up < 2)
		usleep(1000);
	child_up();
	wait_term();
	expect(SYS_getuid, 81);
	CHECK(getppid() > 0);
	go = 1;
	CHECK(pthread_join(t[0], NULL) == 0 && pthread_join(t[1], NULL) == 0);
}

int main(int argc, char **argv)
{
	pid_t pids[2];

	subject_init(argc, argv);
	NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	pids[0] = child(chain, NULL);
	pids[1] = child(threads, NULL);
	ready();
	wait_term();
	SAME(key_value("/proc/self/status", "Seccomp"), 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	for (int i = 0; i < 2; i++)
		child_end(pids[i]);
	pass();
}
