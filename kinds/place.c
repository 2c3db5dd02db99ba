/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See kinds/place.h. */
#include "kinds/place.h"
#include "base/cleanup.h"
#include "kinds/store.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/securebits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct husk *husk_of(struct file_maker *m, const struct task *t)
{
	struct husk *h = t && m->husk_of ? m->husk_of(m->husk_ctx, t) : NULL;
	int lender = h ? file_store_lender(m, t) : -1;

	/* The owner of a shared table may have moved it. */
	if (lender >= 0)
		h->lender_fd = lender;
	return h;
}

static bool is_free(pid_t pid)
{
	return kill(pid, 0) < 0 && errno == ESRCH;
}

/* A child of the root with that number. 0: it is not to be had (it names a session or a group). */
static int make_helper(struct place *p, struct husk *root, pid_t pid, struct err *err)
{
	struct husk_birth birth = { .pid = pid };
	int r = husk_fork(root, &birth, &p->helper, err);

	if (r == -EEXIST) {
		err_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	p->parent = root;
	p->husk = &p->helper;
	return 1;
}

int place_open(struct file_maker *m, pid_t pid, struct place *ret, struct err *err)
{
	const struct task *t = pid > 0 ? world_task(m->world, pid) : NULL;
	struct husk *root = husk_of(m, m->world->root);

	*ret = (struct place){ .helper = { .mem = -1 }, .exact = true };
	ret->husk = husk_of(m, t);
	if (ret->husk)
		return 0;
	if (!root)
		return err_bug(err, "there is no task that could make anything");
	if (pid > 0 && is_free(pid)) {
		int r = make_helper(ret, root, pid, err);

		if (r)
			return r < 0 ? r : 0;
	}
	ret->husk = root;
	ret->exact = false;
	return 0;
}

int place_send(struct place *p, const int *fds, size_t n, int *ret_numbers, struct err *err)
{
	return husk_send(p->husk, fds, n, ret_numbers, err);
}

int place_play(struct place *p, struct tape *tape, struct err *err)
{
	return tape_calls(tape) ? husk_play(p->husk, 0, tape, err) : 0;
}

int place_take(struct place *p, int number, int *ret_fd, struct err *err)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, p->husk->pid, 0);
	int fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);

	if (fd < 0)
		return err_sys(err, "cannot take descriptor %d from task %d", number, p->husk->pid);
	*ret_fd = fd;
	return 0;
}

/* The parent takes its child's end and forgets the signal, which was never in its life. */
static int reap(struct husk *parent, pid_t pid, struct err *err)
{
	uint64_t set = 1ull << (SIGCHLD - 1);
	struct timespec zero = { 0 };
	struct tape *t = tape_new();
	int r;

	tape_call(t, "place", TAPE_MUST, SYS_wait4, T(pid), T(0), T(0x40000000 /* __WALL */), T(0));
	tape_call(t, "place", 0, SYS_rt_sigtimedwait, T_DATA(tape_data(t, &set, sizeof(set))), T(0),
		T_DATA(tape_data(t, &zero, sizeof(zero))), T(8));
	r = husk_play(parent, 0, t, err);
	tape_free(t);
	return r;
}

int place_close(struct place *p, struct err *err)
{
	pid_t pid = p->helper.pid;
	int r;

	if (!p->parent)
		return 0;
	r = husk_exit(&p->helper, 0, 0, err);
	husk_done(&p->helper);
	if (r == 0)
		r = reap(p->parent, pid, err);
	*p = (struct place){ .helper = { .mem = -1 } };
	return r;
}

/* ---- ids ---- */

size_t place_ids_begin(struct tape *tape, const struct maker_ids *ids)
{
	size_t groups = ids->n_groups ?
		tape_data(tape, ids->groups, ids->n_groups * sizeof(*ids->groups)) : tape_room(tape, 4);
	size_t begin;

	/* Without it a change of the effective id takes the capabilities away (capabilities(7)). */
	tape_call(tape, "place", 0, SYS_prctl, T(PR_SET_SECUREBITS), T(SECBIT_NO_SETUID_FIXUP), T(0),
		T(0), T(0));
	tape_call(tape, "place", 0, SYS_setgroups, T(ids->n_groups), T_DATA(groups));
	begin = tape_call(tape, "place", 0, SYS_setresgid, T(-1), T(ids->gid), T(-1));
	tape_call(tape, "place", 0, SYS_setresuid, T(-1), T(ids->uid), T(-1));
	return begin;
}

bool place_ids_set(const struct tape *tape, size_t begin)
{
	return tape_result(tape, begin) == 0 && tape_result(tape, begin + 1) == 0;
}

/* What a husk has is what torpor has, until its own credentials are set. */
void place_ids_end(struct tape *tape)
{
	gid_t ours[NGROUPS_MAX];
	int n = getgroups(NGROUPS_MAX, ours), bits = prctl(PR_GET_SECUREBITS);
	size_t groups = tape_data(tape, ours, n > 0 ? (size_t)n * sizeof(ours[0]) : 0);

	tape_call(tape, "place", TAPE_MUST, SYS_setresuid, T(-1), T(geteuid()), T(-1));
	tape_call(tape, "place", TAPE_MUST, SYS_setresgid, T(-1), T(getegid()), T(-1));
	tape_call(tape, "place", 0, SYS_setgroups, T(n > 0 ? n : 0), T_DATA(groups));
	tape_call(tape, "place", 0, SYS_prctl, T(PR_SET_SECUREBITS), T(bits > 0 ? bits : 0), T(0),
		T(0), T(0));
	/* which the change of the ids took away (commit_creds) */
	tape_call(tape, "place", 0, SYS_prctl, T(PR_SET_DUMPABLE), T(1), T(0), T(0), T(0));
}
