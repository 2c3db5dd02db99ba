/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * creds: user and group ids, supplementary groups, capability sets with an ambient one, securebits
 * and no_new_privs in several children; one is an ordinary user, one not dumpable.
 */
#include "subject.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>

struct creds {
	uid_t u[3], fsu;
	gid_t g[3], fsg, groups[70];
	int n_groups, securebits, nnp, dumpable, keep;
	struct __user_cap_data_struct caps[2];
	uint64_t bound, ambient;
};

static void creds_note(struct creds *c)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };

	memset(c, 0, sizeof(*c));
	NEED(getresuid(&c->u[0], &c->u[1], &c->u[2]) == 0);
	NEED(getresgid(&c->g[0], &c->g[1], &c->g[2]) == 0);
	c->fsu = setfsuid(-1);
	c->fsg = setfsgid(-1);
	c->n_groups = getgroups(70, c->groups);
	NEED(c->n_groups >= 0);
	NEED(syscall(SYS_capget, &h, c->caps) == 0);
	for (int i = 0; i < 64; i++) {
		c->bound |= (uint64_t)(prctl(PR_CAPBSET_READ, i) == 1) << i;
		c->ambient |= (uint64_t)(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1) << i;
	}
	c->securebits = prctl(PR_GET_SECUREBITS);
	c->nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	c->dumpable = prctl(PR_GET_DUMPABLE);
	c->keep = prctl(PR_GET_KEEPCAPS);
}

static void creds_check(const struct creds *c)
{
	struct creds n;

	creds_note(&n);
	for (int i = 0; i < 3; i++) {
		SAME(n.u[i], c->u[i]);
		SAME(n.g[i], c->g[i]);
	}
	SAME(n.fsu, c->fsu);
	SAME(n.fsg, c->fsg);
	SAME(n.n_groups, c->n_groups);
	CHECK(!memcmp(n.groups, c->groups, sizeof(n.groups)));
	for (int i = 0; i < 2; i++) {
		SAME(n.caps[i].effective, c->caps[i].effective);
		SAME(n.caps[i].permitted, c->caps[i].permitted);
		SAME(n.caps[i].inheritable, c->caps[i].inheritable);
	}
	SAME(n.bound, c->bound);
	SAME(n.ambient, c->ambient);
	SAME(n.securebits, c->securebits);
	SAME(n.nnp, c->nnp);
	SAME(n.dumpable, c->dumpable);
	SAME(n.keep, c->keep);
}

static void caps_set(uint64_t eff, uint64_t prm, uint64_t inh)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { eff, prm, inh }, { eff >> 32, prm >> 32, inh >> 32 } };

	NEED(syscall(SYS_capset, &h, d) == 0);
}

#define CAP(c) (1ull << (c))

static void kid(void *arg)
{
	gid_t groups[64];
	struct creds c;

	switch ((intptr_t)arg) {
	case 0: /* an ordinary user with groups, made dumpable again */
		for (int i = 0; i < 64; i++)
			groups[i] = 2000 + i * i;
		NEED(setgroups(64, groups) == 0);
		NEED(setresgid(1001, 1002, 1003) == 0 && setresuid(2001, 2002, 2003) == 0);
		NEED(prctl(PR_SET_DUMPABLE, 1) == 0);
		break;
	case 1: /* capabilities of all sorts, under a user */
		NEED(prctl(PR_SET_KEEPCAPS, 1) == 0);
		NEED(prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) == 0);
		NEED(setgroups(0, NULL) == 0);
		NEED(setresgid(1, 2, 3) == 0 && setresuid(5, 6, 7) == 0);
		caps_set(CAP(CAP_CHOWN) | CAP(CAP_KILL),
			CAP(CAP_CHOWN) | CAP(CAP_KILL) | CAP(CAP_NET_RAW) | CAP(CAP_MAC_ADMIN),
			CAP(CAP_CHOWN) | CAP(CAP_NET_RAW));
		NEED(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
		break;
	case 2: /* root without its magic */
		NEED(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
			SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS) == 0);
		NEED(setresuid(0, 0, 55) == 0);
		setfsuid(77);
		setfsgid(88);
		break;
	case 3: /* no new privileges, not dumpable, no capability at all */
		NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
		NEED(prctl(PR_SET_DUMPABLE, 0) == 0);
		caps_set(0, 0, 0);
		break;
	}
	creds_note(&c);
	child_up();
	wait_term();
	creds_check(&c);
}

int main(int argc, char **argv)
{
	struct creds c;
	pid_t pids[4];

	subject_init(argc, argv);
	/* the ordinary users below write their verdict too */
	NEED(chmod(".", 0777) == 0);
	say("starts");
	NEED(chmod(subject_result, 0666) == 0);
	for (intptr_t i = 0; i < 4; i++)
		pids[i] = child(kid, (void *)i);
	creds_note(&c);
	ready();
	wait_term();
	creds_check(&c);
	for (int i = 0; i < 4; i++)
		child_end(pids[i]);
	pass();
}
