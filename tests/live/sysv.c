/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sysv: shared memory attached by two tasks, to read and to write, in parts, marked for removal, one
 * that nobody has attached; semaphores, with what processes give back at their end; a message queue.
 */
#include "descriptors.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

enum { PAGE = 4096, SIZE = 10 * PAGE };

static int both, gone, alone, sems, undone, queue;
static uint8_t *writer, *reader, *lost, *part;

static void *attach(int id, int flags)
{
	void *p = shmat(id, NULL, flags);

	NEED(p != (void *)-1);
	return p;
}

static int attached(int id)
{
	struct shmid_ds ds;

	CHECK(shmctl(id, IPC_STAT, &ds) == 0);
	return ds.shm_nattch;
}

static void values_are(int id, int a, int b, int c, int d)
{
	unsigned short v[4];

	CHECK(semctl(id, 0, GETALL, v) == 0);
	if (v[0] != a || v[1] != b || v[2] != c || v[3] != d)
		fail("semaphores are %d %d %d %d, not %d %d %d %d", v[0], v[1], v[2], v[3], a, b, c, d);
}

static void kid(void *arg)
{
	(void)arg;
	NEED(semop(undone, &(struct sembuf){ 1, -2, SEM_UNDO }, 1) == 0);
	NEED(semop(undone, &(struct sembuf){ 3, 1, SEM_UNDO }, 1) == 0);
	child_up();
	wait_term();
	CHECK(holds(writer, SIZE, 1) && holds(reader, SIZE, 1) && holds(lost, SIZE, 2));
	writer[0]++;
	SAME(reader[0], writer[0]);
	CHECK(semop(sems, &(struct sembuf){ 1, -1, 0 }, 1) == 0); /* waits for the parent */
	CHECK(shmdt(reader) == 0);
}

static void set_up(void)
{
	struct {
		long type;
		char text[40];
	} m = { 7, "seven" };
	unsigned short values[3] = { 5, 0, 32767 };
	uint8_t *p;

	NEED(shmget(0x1234, PAGE, IPC_CREAT | 0600) >= 0); /* not ours alone: an id above 0 */
	both = shmget(0x4242, SIZE, IPC_CREAT | 0640);
	gone = shmget(IPC_PRIVATE, SIZE, 0600);
	alone = shmget(0x5656, SIZE, IPC_CREAT | 0666);
	NEED(both >= 0 && gone >= 0 && alone >= 0);
	writer = attach(both, 0);
	reader = attach(both, SHM_RDONLY);
	lost = attach(gone, 0);
	fill(writer, SIZE, 1);
	fill(lost, SIZE, 2);
	NEED(shmctl(gone, IPC_RMID, NULL) == 0);
	p = attach(alone, 0);
	fill(p, SIZE, 3);
	NEED(shmdt(p) == 0);
	part = attach(both, 0);
	NEED(munmap(part, PAGE) == 0 && munmap(part + 5 * PAGE, 2 * PAGE) == 0);
	NEED(mprotect(part + 2 * PAGE, PAGE, PROT_READ) == 0);
	sems = semget(0x77, 3, IPC_CREAT | 0600);
	NEED(sems >= 0 && semctl(sems, 0, SETALL, values) == 0);
	NEED(semop(sems, &(struct sembuf){ 0, -1, 0 }, 1) == 0);
	undone = semget(0x99, 4, IPC_CREAT | 0600);
	NEED(undone >= 0 && semctl(undone, 1, SETVAL, 3) == 0 && semctl(undone, 2, SETVAL, 20000) == 0);
	NEED(semop(undone, &(struct sembuf){ 1, -1, SEM_UNDO }, 1) == 0); /* the lock of the parent */
	NEED(semop(undone, &(struct sembuf){ 2, -20000, SEM_UNDO }, 1) == 0);
	NEED(semop(undone, &(struct sembuf){ 3, 7, SEM_UNDO }, 1) == 0);
	queue = msgget(0x88, IPC_CREAT | 0622);
	NEED(queue >= 0 && msgsnd(queue, &m, 6, 0) == 0);
	m.type = 3;
	NEED(msgsnd(queue, &m, 0, 0) == 0 && msgsnd(queue, &m, 40, 0) == 0);
}

static void check(void)
{
	struct {
		long type;
		char text[40];
	} m;
	unsigned short values[3];
	struct msqid_ds q;
	uint8_t *p;

	SAME(shmget(0x4242, SIZE, 0), both);
	SAME(shmget(0x5656, SIZE, 0), alone);
	SAME(semget(0x77, 3, 0), sems);
	SAME(msgget(0x88, 0), queue);
	CHECK(holds(writer, SIZE, 1) && holds(reader, SIZE, 1) && holds(lost, SIZE, 2));
	CHECK(!memcmp(part + PAGE, writer + PAGE, 4 * PAGE) && !memcmp(part + 7 * PAGE, writer + 7 * PAGE, 3 * PAGE));
	part[PAGE]++;
	SAME(writer[PAGE], part[PAGE]);
	part[PAGE]--;
	CHECK(attached(gone) == 2);
	p = attach(alone, 0);
	CHECK(holds(p, SIZE, 3));
	CHECK(semctl(sems, 0, GETALL, values) == 0);
	CHECK(values[0] == 4 && values[1] == 0 && values[2] == 32767);
	CHECK(msgctl(queue, IPC_STAT, &q) == 0 && q.msg_qnum == 3 && (q.msg_perm.mode & 0777) == 0622);
	CHECK(msgrcv(queue, &m, 40, 3, IPC_NOWAIT) == 0 && m.type == 3);
	CHECK(msgrcv(queue, &m, 40, 0, IPC_NOWAIT) == 6 && m.type == 7 && !strcmp(m.text, "seven"));
	CHECK(msgrcv(queue, &m, 40, 0, IPC_NOWAIT) == 40 && m.type == 3);
	CHECK(msgrcv(queue, &m, 40, 0, IPC_NOWAIT) < 0 && errno == ENOMSG);
}

int main(int argc, char **argv)
{
	int both_before;
	pid_t pid;

	subject_init(argc, argv);
	set_up();
	pid = child(kid, NULL);
	both_before = attached(both);
	ready();
	wait_term();
	SAME(attached(both), both_before);
	check();
	CHECK(semop(sems, &(struct sembuf){ 1, 1, 0 }, 1) == 0);
	values_are(undone, 0, 0, 0, 8);
	child_end(pid);
	values_are(undone, 0, 2, 0, 7); /* its end gave back what it had taken */
	pid = fork();
	if (!pid) {
		CHECK(semop(undone, &(struct sembuf){ 1, -2, SEM_UNDO }, 1) == 0);
		_exit(0);
	}
	CHECK(child_reap(pid) == 0);
	values_are(undone, 0, 2, 0, 7);
	CHECK(unshare(CLONE_SYSVSEM) == 0); /* as the end of this process would */
	values_are(undone, 0, 3, 20000, 0);
	CHECK(shmdt(lost) == 0);
	CHECK(shmctl(gone, IPC_STAT, &(struct shmid_ds){ 0 }) < 0);
	pass();
}
