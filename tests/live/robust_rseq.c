/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * robust_rseq: robust lists, rseq areas and clear_child_tid of glibc threads. A thread that holds a
 * robust mutex exits after the restore, another one waits for it and learns of its death; the
 * kernel wakes the futex at the tid address of a thread that exits.
 */
#include "subject.h"
#include <linux/futex.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sys/rseq.h>

static pthread_mutex_t robust;
static volatile int up, go;
static volatile int raw_tid; /* cleared by the kernel when the raw thread exits */

struct note {
	struct self self;
	void *head, *tid_addr;
	size_t len;
	struct rseq *rs;
};

static void note_take(struct note *n)
{
	memset(n, 0, sizeof(*n));
	self_note(&n->self, false);
	NEED(syscall(SYS_get_robust_list, 0, &n->head, &n->len) == 0);
	NEED(prctl(PR_GET_TID_ADDRESS, &n->tid_addr) == 0);
	n->rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	NEED(__rseq_size > 0 && (int)n->rs->cpu_id >= 0);
}

static void note_check(const struct note *n)
{
	unsigned before, after, seen;
	struct note m;

	self_check(&n->self);
	note_take(&m);
	CHECK(m.head == n->head && m.len == n->len && m.rs == n->rs && m.tid_addr == n->tid_addr);
	/* registered already: EBUSY for the same area and signature */
	CHECK(syscall(SYS_rseq, n->rs, 32, 0, RSEQ_SIG) < 0 && errno == EBUSY);
	for (int i = 0; i < 1000; i++) {
		syscall(SYS_getcpu, &before, NULL, NULL);
		seen = *(volatile uint32_t *)&n->rs->cpu_id;
		syscall(SYS_getcpu, &after, NULL, NULL);
		if (before == after && seen == before)
			return;
	}
	fail("the rseq area of %d is not kept up to date", n->self.tid);
}

static void *holder(void *arg)
{
	struct note n;

	NEED(pthread_mutex_lock(&robust) == 0);
	note_take(&n);
	__sync_fetch_and_add(&up, 1);
	while (!go)
		syscall(SYS_futex, &go, FUTEX_WAIT_PRIVATE, 0, NULL);
	note_check(&n);
	return arg; /* the mutex stays locked */
}

static void *heir(void *arg)
{
	struct note n;

	note_take(&n);
	__sync_fetch_and_add(&up, 1);
	SAME(pthread_mutex_lock(&robust), EOWNERDEAD);
	CHECK(go == 1);
	note_check(&n);
	CHECK(pthread_mutex_consistent(&robust) == 0 && pthread_mutex_unlock(&robust) == 0);
	return arg;
}

static char raw_stack[16384] __attribute__((aligned(16)));

/* Runs without glibc's thread data of its own: system calls by hand only. */
static int raw_thread(void *arg)
{
	long r;

	(void)arg;
	__sync_fetch_and_add(&up, 1);
	while (!go)
		asm volatile("syscall" : "=a"(r) : "a"(SYS_sched_yield) : "rcx", "r11", "memory");
	asm volatile("syscall" : "=a"(r) : "a"(SYS_exit), "D"(0L) : "rcx", "r11", "memory");
	return 0;
}

int main(int argc, char **argv)
{
	pthread_mutexattr_t attr;
	struct note n;
	pthread_t t[2];
	int tid;

	subject_init(argc, argv);
	NEED(pthread_mutexattr_init(&attr) == 0);
	NEED(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
	NEED(pthread_mutex_init(&robust, &attr) == 0);
	NEED(pthread_create(&t[0], NULL, holder, NULL) == 0);
	while (up < 1)
		usleep(1000);
	NEED(pthread_create(&t[1], NULL, heir, NULL) == 0);
	tid = clone(raw_thread, raw_stack + sizeof(raw_stack),
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
			CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID,
		NULL, &raw_tid, NULL, &raw_tid);
	NEED(tid > 0);
	while (up < 3)
		usleep(1000);
	usleep(20000);
	note_take(&n);
	ready();
	wait_term();
	note_check(&n);
	SAME(raw_tid, tid);
	go = 1;
	syscall(SYS_futex, &go, FUTEX_WAKE_PRIVATE, INT_MAX);
	while (raw_tid == tid)
		syscall(SYS_futex, &raw_tid, FUTEX_WAIT, tid, NULL);
	SAME(raw_tid, 0);
	for (int i = 0; i < 2; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	pass();
}
