/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fs_sharing: working directory and umask shared with a child by CLONE_FS. */
#include "subject.h"
#include <linux/kcmp.h>

static void kid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	CHECK(syscall(SYS_kcmp, getpid(), getppid(), KCMP_FS, 0, 0) == 0);
	CHECK(chdir("there") == 0);
	umask(0123);
}

int main(int argc, char **argv)
{
	char cwd[512];
	pid_t pid;

	subject_init(argc, argv);
	NEED(mkdir("there", 0755) == 0);
	pid = child_clone(CLONE_FS, kid, NULL);
	ready();
	wait_term();
	CHECK(syscall(SYS_kcmp, getpid(), pid, KCMP_FS, 0, 0) == 0);
	child_end(pid);
	CHECK(getcwd(cwd, sizeof(cwd)) && strstr(cwd, "/there"));
	SAME(umask(0), 0123);
	pass();
}
