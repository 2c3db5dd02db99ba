/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * threads1000: a thousand threads (or as many as argv[2] says), each with a name, a thread variable
 * and a signal mask of its own, waiting on a futex; some run.
 */
#include "subject.h"
#include <linux/futex.h>
#include <pthread.h>

static volatile int up, go;
static __thread int me;

static void *work(void *arg)
{
	int i = (intptr_t)arg;
	struct self s;
	sigset_t set;
	char name[16];

	me = i;
	snprintf(name, sizeof(name), "t%d", i);
	NEED(prctl(PR_SET_NAME, name) == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGRTMIN + i % 20);
	NEED(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
	self_note(&s, false);
	__sync_fetch_and_add(&up, 1);
	while (!go) {
		if (i % 100 == 0)
			usleep(1000);
		else
			syscall(SYS_futex, &go, FUTEX_WAIT_PRIVATE, 0, NULL);
	}
	self_check(&s);
	SAME(me, i);
	return arg;
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 1000;
	pthread_t *t = calloc(n, sizeof(*t));
	pthread_attr_t attr;
	void *ret;

	subject_init(argc, argv);
	NEED(t && pthread_attr_init(&attr) == 0);
	NEED(pthread_attr_setstacksize(&attr, 65536) == 0);
	for (intptr_t i = 0; i < n; i++) {
		errno = pthread_create(&t[i], &attr, work, (void *)i);
		NEED(errno == 0);
	}
	while (up < n)
		usleep(1000);
	ready();
	wait_term();
	go = 1;
	syscall(SYS_futex, &go, FUTEX_WAKE_PRIVATE, INT_MAX);
	for (int i = 0; i < n; i++) {
		CHECK(pthread_join(t[i], &ret) == 0);
		SAME((intptr_t)ret, i);
	}
	pass();
}
