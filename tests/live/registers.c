/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * registers: four threads keep every register full while they spin; one sits in a system call with
 * registers full; protection keys where the processor has them.
 */
#include "registers.h"
#include <pthread.h>

enum { N = 4 };

static struct registers r[N];
static volatile int up;
static int fds[2];

static void *spin(void *arg)
{
	int i = (intptr_t)arg;
	const char *bad;

	registers_fill(&r[i], 1000 * i + i);
	__sync_fetch_and_add(&up, 1);
	registers_spin(&r[i], 0);
	bad = registers_differ(&r[i]);
	if (bad)
		fail("thread %d: %s has changed", i, bad);
	return NULL;
}

/* The registers that a system call leaves alone, across a read that blocks. */
static void *in_call(void *arg)
{
	register uint64_t b asm("rbx") = 0x1111, r12 asm("r12") = 0x2222, r13 asm("r13") = 0x3333,
				r14 asm("r14") = 0x4444, r15 asm("r15") = 0x5555, r8 asm("r8") = 0x66,
				r9 asm("r9") = 0x77, r10 asm("r10") = 0x88;
	uint64_t ax = SYS_read, kept, ks[2] = { 0x0123456789abcdef, 0 };
	char c[16] = "";

	__sync_fetch_and_add(&up, 1);
	asm volatile("movq %[k], %%xmm7\n	syscall\n	movq %%xmm7, %[o]\n"
		     : "+a"(ax), "+r"(b), "+r"(r12), "+r"(r13), "+r"(r14), "+r"(r15), "+r"(r8),
		     "+r"(r9), "+r"(r10), [o] "=m"(ks[1])
		     : "D"((long)fds[0]), "S"(c), "d"(4L), [k] "m"(ks[0])
		     : "rcx", "r11", "memory", "xmm7");
	/* at once: they are the compiler's again afterwards */
	kept = (b ^ 0x1111) | (r12 ^ 0x2222) | (r13 ^ 0x3333) | (r14 ^ 0x4444) | (r15 ^ 0x5555) |
		(r8 ^ 0x66) | (r9 ^ 0x77) | (r10 ^ 0x88);
	SAME(ax, 4);
	SAME(kept, 0);
	CHECK(!memcmp(c, "word", 4) && ks[0] == ks[1]);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t[N], call;
	unsigned rights = 0;
	int key;

	subject_init(argc, argv);
	NEED(pipe(fds) == 0);
	for (intptr_t i = 0; i < N; i++)
		NEED(pthread_create(&t[i], NULL, spin, (void *)i) == 0);
	NEED(pthread_create(&call, NULL, in_call, NULL) == 0);
	while (up < N + 1)
		usleep(1000);
	key = pkey_alloc(0, 0);
	if (key > 0)
		NEED(pkey_set(key, PKEY_DISABLE_WRITE) == 0);
	usleep(20000);
	ready();
	wait_term();
	if (key > 0) {
		rights = pkey_get(key);
		SAME(rights, PKEY_DISABLE_WRITE);
	}
	registers_go = 1;
	CHECK(write(fds[1], "word", 4) == 4);
	for (int i = 0; i < N; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	CHECK(pthread_join(call, NULL) == 0);
	pass();
}
