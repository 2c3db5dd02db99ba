/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fd_sharing: descriptions shared by fork under other numbers, tables shared by CLONE_FILES (three
 * processes, one of them below another), files opened twice that are not shared.
 */
#include "descriptors.h"

static int by_fork, twice[2], in_table;
static volatile int *word; /* shared between the processes */

static void forked(void *arg)
{
	struct fd_note n;

	(void)arg;
	NEED(dup2(by_fork, 77) == 77);
	close(by_fork);
	fd_note(&n, 77);
	child_up();
	wait_term();
	CHECK(fd_is_same(getpid(), 77, getppid(), by_fork));
	SAME(lseek(77, 0, SEEK_CUR), 5);
	CHECK(!fd_is_same(getpid(), twice[0], getpid(), twice[1]));
	CHECK(fd_is_same(getpid(), twice[0], getppid(), twice[0]));
}

static void table_grandkid(void *arg)
{
	(void)arg;
	child_up();
	wait_term();
	CHECK(syscall(SYS_kcmp, getpid(), getppid(), KCMP_FILES, 0, 0) == 0);
}

static void table_kid(void *arg)
{
	pid_t pid;

	(void)arg;
	pid = child_clone(CLONE_FILES, table_grandkid, NULL);
	child_up();
	wait_term();
	CHECK(syscall(SYS_kcmp, getpid(), getppid(), KCMP_FILES, 0, 0) == 0);
	CHECK(fcntl(in_table, F_GETFD) == 0);
	word[0] = open("opened-later", O_RDWR | O_CREAT, 0600); /* appears in the parent */
	CHECK(word[0] >= 0);
	close(in_table); /* and this one goes */
	child_end(pid);
}

int main(int argc, char **argv)
{
	pid_t a, b;

	subject_init(argc, argv);
	word = map(4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	by_fork = open("by-fork", O_RDWR | O_CREAT, 0600);
	twice[0] = open("twice", O_RDWR | O_CREAT, 0600);
	twice[1] = open("twice", O_RDWR | O_CREAT, 0600);
	in_table = open("in-table", O_RDWR | O_CREAT, 0600);
	NEED(by_fork >= 0 && twice[1] >= 0 && in_table >= 0);
	a = child(forked, NULL);
	b = child_clone(CLONE_FILES, table_kid, NULL);
	ready();
	wait_term();
	CHECK(syscall(SYS_kcmp, getpid(), b, KCMP_FILES, 0, 0) == 0);
	CHECK(syscall(SYS_kcmp, getpid(), a, KCMP_FILES, 0, 0) != 0);
	SAME(write(by_fork, "bytes", 5), 5);
	child_end(a);
	child_end(b);
	CHECK(fcntl(word[0], F_GETFD) >= 0);
	CHECK(fcntl(in_table, F_GETFD) < 0 && errno == EBADF);
	pass();
}
