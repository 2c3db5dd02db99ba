/* SPDX-License-Identifier: GPL-2.0-or-later */
/* seccomp_strict: a child in strict mode goes on reading and writing, and dies by anything else. */
#include "subject.h"
#include <linux/seccomp.h>

static int to[2], from[2];

static _Noreturn void strict(void)
{
	char c;
	long n;

	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	for (;;) {
		asm volatile("syscall" : "=a"(n) : "a"(SYS_read), "D"((long)to[0]), "S"(&c), "d"(1L)
			     : "rcx", "r11", "memory");
		if (n != 1)
			continue;
		c++;
		asm volatile("syscall" : "=a"(n) : "a"(SYS_write), "D"((long)from[1]), "S"(&c), "d"(1L)
			     : "rcx", "r11", "memory");
		if (c == 'z' + 1)
			asm volatile("syscall" : "=a"(n) : "a"(SYS_getpid) : "rcx", "r11", "memory");
	}
}

static void ask(char c)
{
	char got = 0;

	CHECK(write(to[1], &c, 1) == 1);
	CHECK(read(from[0], &got, 1) == 1);
	SAME(got, c + 1);
}

int main(int argc, char **argv)
{
	char path[64];
	int status;
	pid_t pid;

	subject_init(argc, argv);
	NEED(pipe(to) == 0 && pipe(from) == 0);
	pid = fork();
	NEED(pid >= 0);
	if (pid == 0)
		strict();
	ask('a');
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	NEED(key_value(path, "Seccomp") == 1);
	ready();
	wait_term();
	SAME(key_value(path, "Seccomp"), 1);
	ask('f');
	ask('z');
	status = child_reap(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	pass();
}
