/* SPDX-License-Identifier: GPL-2.0-or-later */
/* thread_creds: threads with user ids, groups, capabilities and no_new_privs of their own. */
#include "subject.h"
#include <linux/capability.h>
#include <pthread.h>

enum { N = 4 };

static volatile int up, go;

struct creds {
	uid_t u[3];
	gid_t g[3], groups[8];
	int n_groups, nnp, securebits;
	struct __user_cap_data_struct caps[2];
};

static void creds_note(struct creds *c)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };

	memset(c, 0, sizeof(*c));
	NEED(syscall(SYS_getresuid, &c->u[0], &c->u[1], &c->u[2]) == 0);
	NEED(syscall(SYS_getresgid, &c->g[0], &c->g[1], &c->g[2]) == 0);
	c->n_groups = syscall(SYS_getgroups, 8, c->groups);
	NEED(syscall(SYS_capget, &h, c->caps) == 0);
	c->nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	c->securebits = prctl(PR_GET_SECUREBITS);
}

/* By bare system calls: glibc would change all threads. */
static void *work(void *arg)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0 } };
	gid_t groups[3] = { 11, 22, 33 };
	struct creds before, after;

	switch ((intptr_t)arg) {
	case 0:
		NEED(syscall(SYS_setgroups, 3, groups) == 0);
		NEED(syscall(SYS_setresgid, 101, 102, 103) == 0);
		NEED(syscall(SYS_setresuid, 201, 202, 203) == 0);
		break;
	case 1:
		NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
		break;
	case 2:
		d[0].effective = 1 << CAP_KILL;
		d[0].permitted = 1 << CAP_KILL | 1 << CAP_CHOWN;
		NEED(syscall(SYS_capset, &h, d) == 0);
		break;
	}
	creds_note(&before);
	__sync_fetch_and_add(&up, 1);
	while (!go)
		usleep(1000);
	creds_note(&after);
	if (memcmp(&before, &after, sizeof(before)))
		fail("thread %d: uid %d %d %d gid %d nnp %d caps %x, not %d %d %d, %d, %d, %x",
			(int)(intptr_t)arg, after.u[0], after.u[1], after.u[2], after.g[0], after.nnp,
			after.caps[0].effective, before.u[0], before.u[1], before.u[2], before.g[0],
			before.nnp, before.caps[0].effective);
	return NULL;
}

int main(int argc, char **argv)
{
	struct creds before, after;
	pthread_t t[N];

	subject_init(argc, argv);
	NEED(chmod(".", 0777) == 0);
	say("starts");
	NEED(chmod(subject_result, 0666) == 0);
	for (intptr_t i = 0; i < N; i++)
		NEED(pthread_create(&t[i], NULL, work, (void *)i) == 0);
	while (up < N)
		usleep(1000);
	NEED(prctl(PR_SET_DUMPABLE, 1) == 0);
	creds_note(&before);
	ready();
	wait_term();
	creds_note(&after);
	CHECK(!memcmp(&before, &after, sizeof(before)));
	go = 1;
	for (int i = 0; i < N; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	pass();
}
