// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of credentials, of every thread: uids, gids, groups, the five capability sets, securebits,
 * no_new_privs.
 *
 * The order of restoring keeps each right as long as it is needed (capabilities(7),
 * credentials(7)):
 *  1. securebits with no_setuid_fixup and keep_caps, so that changes of uids take no capabilities;
 *  2. the inheritable set, which may not exceed the bounding set, and then
 *  3. the bounding set, whose capabilities can only be dropped;
 *  4. groups, gids, uids and their file system ids;
 *  5. ambient capabilities, which must be permitted and inheritable, and may be forbidden by
 *  6. the final securebits, which need CAP_SETPCAP, so that
 *  7. effective and permitted sets come last.
 * no_new_privs follows in PHASE_LAST, with what else may bar the way.
 */
#include "base/log.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NO_FIXUP = SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS };

/* ---- dump ---- */

static void put_set(struct arena *a, uint64_t set, size_t *n, uint32_t **words)
{
	*n = 2;
	*words = arena_array(a, 2, sizeof(**words));
	(*words)[0] = (uint32_t)set;
	(*words)[1] = (uint32_t)(set >> 32);
}

static int creds_look(struct look *l, struct err *err)
{
	struct arena *a = l->world->arena;
	CredsEntry *c = arena_msg(a, CredsEntry, creds_entry);
	struct proc_status st;
	uint32_t gid;
	int r = look_status(l, &st, err);

	if (r < 0)
		return r;
	c->uid = st.uids[0];
	c->euid = st.uids[1];
	c->suid = st.uids[2];
	c->fsuid = st.uids[3];
	c->gid = st.gids[0];
	c->egid = st.gids[1];
	c->sgid = st.gids[2];
	c->fsgid = st.gids[3];
	while (proc_status_group(&st.groups, &gid))
		arena_push(a, c->groups, c->n_groups, gid);
	put_set(a, st.cap_inh, &c->n_cap_inh, &c->cap_inh);
	put_set(a, st.cap_prm, &c->n_cap_prm, &c->cap_prm);
	put_set(a, st.cap_eff, &c->n_cap_eff, &c->cap_eff);
	put_set(a, st.cap_bnd, &c->n_cap_bnd, &c->cap_bnd);
	if (st.cap_amb)
		put_set(a, st.cap_amb, &c->n_cap_amb, &c->cap_amb);
	c->has_no_new_privs = st.no_new_privs != 0;
	c->no_new_privs = st.no_new_privs != 0;
	own_core(l)->creds = c;
	return 0;
}

static int creds_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[0] = tape_call(t, "creds", 0, SYS_prctl, T(PR_GET_SECUREBITS));
	return 0;
}

static int creds_learn(const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	int64_t bits = tape_result(t, cue->at[0]);
	char who[THREAD_NAME];

	if (bits < 0)
		return err_sysn(err, (int)-bits, "cannot read the securebits of %s",
			thread_name(l->thread, who, sizeof(who)));
	own_core(l)->creds->secbits = (uint32_t)bits;
	return 0;
}

/* ---- check ---- */

/* Two words, or one or none in old images; UINT64_MAX for something else. */
static bool get_set(const uint32_t *words, size_t n, uint64_t *ret)
{
	*ret = 0;
	if (n > 2)
		return false;
	if (n > 0)
		*ret = words[0];
	if (n > 1)
		*ret |= (uint64_t)words[1] << 32;
	return true;
}

struct cap_sets {
	uint64_t inh, prm, eff, bnd, amb;
};

static bool get_sets(const CredsEntry *c, struct cap_sets *ret)
{
	return get_set(c->cap_inh, c->n_cap_inh, &ret->inh) &&
	       get_set(c->cap_prm, c->n_cap_prm, &ret->prm) &&
	       get_set(c->cap_eff, c->n_cap_eff, &ret->eff) &&
	       get_set(c->cap_bnd, c->n_cap_bnd, &ret->bnd) &&
	       get_set(c->cap_amb, c->n_cap_amb, &ret->amb);
}

static void creds_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const CredsEntry *c = th->core->thread_core ? th->core->thread_core->creds : NULL;
	struct cap_sets s;

	if (!c)
		return;
	if (!get_sets(c, &s))
		finding_add(f, "creds-caps", SEV_ERROR, th->task->pid,
			"a capability set of thread %d has a wrong length", th->tid);
	else if (s.eff & ~s.prm || s.amb & ~(s.prm & s.inh))
		finding_add(f, "creds-caps", SEV_ERROR, th->task->pid,
			"capability sets of thread %d contradict each other", th->tid);
}

/* ---- restore ---- */

/* What a husk has: our own sets. */
struct ours {
	uint64_t prm, inh, bnd;
	unsigned last; /* highest capability of this kernel */
	int secbits;
};

static void read_ours(struct ours *o)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	int has;

	*o = (struct ours){ .secbits = prctl(PR_GET_SECUREBITS) };
	(void)syscall(SYS_capget, &head, data);
	o->prm = data[0].permitted | (uint64_t)data[1].permitted << 32;
	o->inh = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	for (unsigned c = 0; c < 64 && (has = prctl(PR_CAPBSET_READ, c)) >= 0; c++) {
		o->last = c;
		if (has)
			o->bnd |= 1ull << c;
	}
}

/* They do not change while it restores. */
static const struct ours *ours_of(const struct arise *a)
{
	struct ours *o = a->ours ? table_get(a->ours, (uintptr_t)&facet_creds) : NULL;

	if (o)
		return o;
	o = arena_new_of(a->world->arena, struct ours);
	read_ours(o);
	if (a->ours)
		table_put(a->ours, (uintptr_t)&facet_creds, o);
	return o;
}

static const char *cap_text(unsigned cap, char *buf, size_t size)
{
	char *name = cap_to_name((cap_value_t)cap);

	snprintf(buf, size, "%s", name ? name : "?");
	if (name)
		cap_free(name);
	return buf;
}

static int refuse_missing(const struct arise *a, const char *set, uint64_t missing, struct err *err)
{
	char who[THREAD_NAME], cap[32];

	if (!missing)
		return 0;
	return err_set(err, ERR_KERNEL, EPERM,
		"%s has %s in its %s capabilities, which torpor does not have here and cannot give",
		thread_name(a->thread, who, sizeof(who)),
		cap_text((unsigned)__builtin_ctzll(missing), cap, sizeof(cap)), set);
}

/* A smaller bounding set takes nothing the thread has now, only what an exec could have given. */
static void warn_bounding(const struct arise *a, uint64_t missing)
{
	char who[THREAD_NAME], cap[32];

	if (missing)
		log_warn("%s loses %s%s from its bounding set, which is not to be had here",
			thread_name(a->thread, who, sizeof(who)),
			cap_text((unsigned)__builtin_ctzll(missing), cap, sizeof(cap)),
			missing & (missing - 1) ? " and others" : "");
}

/* The sets as far as they exist here; an error names what cannot be given. */
static int plan_sets(
	const struct arise *a, const struct ours *o, struct cap_sets *s, struct err *err)
{
	uint64_t known = o->last >= 63 ? UINT64_MAX : (1ull << (o->last + 1)) - 1;
	int r;

	r = refuse_missing(a, "permitted", s->prm & ~o->prm & known, err);
	if (r == 0)
		r = refuse_missing(a, "inheritable", s->inh & ~(o->inh | o->bnd) & known, err);
	if (r == 0)
		r = refuse_missing(a, "permitted", s->prm & ~known, err);
	if (r < 0)
		return r;
	warn_bounding(a, s->bnd & ~o->bnd);
	s->inh &= known;
	s->bnd &= o->bnd;
	return 0;
}

static void tell_capset(struct tape *t, uint64_t eff, uint64_t prm, uint64_t inh)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)eff, (uint32_t)prm, (uint32_t)inh },
		{ (uint32_t)(eff >> 32), (uint32_t)(prm >> 32), (uint32_t)(inh >> 32) },
	};

	tape_call(t, "creds", TAPE_MUST, SYS_capset, T_DATA(tape_data(t, &head, sizeof(head))),
		T_DATA(tape_data(t, data, sizeof(data))));
}

static void tell_bounding(struct tape *t, const struct ours *o, uint64_t want)
{
	for (unsigned c = 0; c <= o->last; c++)
		if (o->bnd >> c & 1 && !(want >> c & 1))
			tape_call(t, "creds", TAPE_MUST, SYS_prctl, T(PR_CAPBSET_DROP), T(c), T(0),
				T(0), T(0));
}

static void tell_ids(struct tape *t, const CredsEntry *c, bool groups)
{
	if (groups)
		tape_call(t, "creds", TAPE_MUST, SYS_setgroups, T(c->n_groups),
			T_DATA(tape_data(t, c->groups, c->n_groups * sizeof(*c->groups))));
	tape_call(t, "creds", TAPE_MUST, SYS_setresgid, T(c->gid), T(c->egid), T(c->sgid));
	if (c->fsgid != c->egid)
		tape_call(t, "creds", 0, SYS_setfsgid, T(c->fsgid));
	tape_call(t, "creds", TAPE_MUST, SYS_setresuid, T(c->uid), T(c->euid), T(c->suid));
	if (c->fsuid != c->euid)
		tape_call(t, "creds", 0, SYS_setfsuid, T(c->fsuid));
}

static void tell_ambient(struct tape *t, uint64_t want)
{
	/* fails on kernels before 4.3, which have none */
	tape_call(t, "creds", want ? TAPE_MUST : 0, SYS_prctl, T(PR_CAP_AMBIENT),
		T(PR_CAP_AMBIENT_CLEAR_ALL), T(0), T(0), T(0));
	for (unsigned c = 0; c < 64; c++)
		if (want >> c & 1)
			tape_call(t, "creds", TAPE_MUST, SYS_prctl, T(PR_CAP_AMBIENT),
				T(PR_CAP_AMBIENT_RAISE), T(c), T(0), T(0));
}

/* Whether the supplementary groups differ from ours (setting them needs CAP_SETGID). */
static bool other_groups(const CredsEntry *c)
{
	gid_t own[256];
	int n = getgroups(256, own);

	if (n < 0 || (size_t)n != c->n_groups)
		return true;
	for (int i = 0; i < n; i++)
		if (own[i] != c->groups[i])
			return true;
	return false;
}

static int tell_creds(struct tape *t, const struct arise *a, const CredsEntry *c, struct err *err)
{
	const struct ours *o = ours_of(a);
	struct cap_sets s;
	int r;

	if (!c)
		return 0;
	if (!get_sets(c, &s))
		return err_image(
			err, "a capability set of thread %d has a wrong length", a->thread->tid);
	r = plan_sets(a, o, &s, err);
	if (r < 0)
		return r;
	if (o->prm >> CAP_SETPCAP & 1 && (o->secbits & NO_FIXUP) != NO_FIXUP)
		tape_call(t, "creds", TAPE_MUST, SYS_prctl, T(PR_SET_SECUREBITS),
			T(o->secbits | NO_FIXUP));
	tell_capset(t, o->prm, o->prm, s.inh);
	tell_bounding(t, o, s.bnd);
	tell_ids(t, c, other_groups(c));
	tell_ambient(t, s.amb);
	if (o->prm >> CAP_SETPCAP & 1 || c->secbits != (uint32_t)o->secbits)
		tape_call(t, "creds", TAPE_MUST, SYS_prctl, T(PR_SET_SECUREBITS), T(c->secbits));
	tell_capset(t, s.eff, s.prm, s.inh);
	return 0;
}

static int creds_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;

	return tell_creds(t, a, core ? core->creds : NULL, err);
}

/*
 * A dead leader has no credentials in the image, but those it left decide who may signal the
 * process: it gets those of the thread that speaks for it.
 */
static int leader_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const struct task *task = a->thread->task;
	const struct thread *speaker = task_live_thread(task);

	if (!task->leader_dead || !speaker || !speaker->core->thread_core)
		return 0;
	return tell_creds(t, a, speaker->core->thread_core->creds, err);
}

const struct facet facet_creds = {
	.name = "creds",
	.scope = PER_THREAD,
	.phase = PHASE_CREDS,
	.look = creds_look,
	.ask = creds_ask,
	.learn = creds_learn,
	.check = creds_check,
	.tell = creds_tell,
};

const struct facet facet_leader_creds = {
	.name = "leader-creds",
	.scope = PER_TASK,
	.phase = PHASE_LAST,
	.tell = leader_tell,
};

/* ---- no_new_privs ---- */

static int nnp_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;

	if (core && core->creds && core->creds->has_no_new_privs && core->creds->no_new_privs)
		tape_call(t, "no-new-privs", TAPE_MUST, SYS_prctl, T(PR_SET_NO_NEW_PRIVS), T(1),
			T(0), T(0), T(0));
	return 0;
}

const struct facet facet_no_new_privs = {
	.name = "no-new-privs",
	.scope = PER_THREAD,
	.phase = PHASE_LAST,
	.tell = nnp_tell,
};
