// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Plans of restores, carried out in a simulated kernel: random histories of fork, setsid, setpgid,
 * exit and subreapers make trees as they occur; what the plan makes of them must be equal.
 */
#include "restore/plan.h"
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 64, FIRST_PID = 100 };

struct sim {
	struct proc {
		int pid, ppid, sid, pgid;
		bool exists, zombie, reaper;
	} at[MAX];
	int n;
};

static unsigned long seed;

static unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005ul + 1442695040888963407ul;
	return (unsigned)(seed >> 33) % n;
}

static struct proc *find(struct sim *s, int pid)
{
	for (int i = 0; i < s->n; i++)
		if (s->at[i].exists && s->at[i].pid == pid)
			return &s->at[i];
	return NULL;
}

/* Who gets the children of a dead process: the nearest subreaper above, else the root. */
static int heir(struct sim *s, int pid)
{
	struct proc *p = find(s, pid);

	while (p && (p = find(s, p->ppid)))
		if (p->reaper)
			return p->pid;
	return FIRST_PID;
}

static void sim_exit(struct sim *s, struct proc *p, bool reaped)
{
	int to = heir(s, p->pid);

	for (int i = 0; i < s->n; i++)
		if (s->at[i].exists && s->at[i].ppid == p->pid)
			s->at[i].ppid = to;
	p->zombie = true;
	if (reaped)
		p->exists = false;
}

static bool session_has_pid(struct sim *s, int id)
{
	for (int i = 0; i < s->n; i++)
		if (s->at[i].exists && (s->at[i].pgid == id || s->at[i].sid == id))
			return true;
	return false;
}

static struct proc *sim_fork(struct sim *s, struct proc *p, int pid)
{
	struct proc *c = &s->at[s->n++];

	*c = *p;
	c->pid = pid;
	c->ppid = p->pid;
	c->reaper = c->zombie = false;
	return c;
}

static bool sim_setsid(struct sim *s, struct proc *p)
{
	for (int i = 0; i < s->n; i++) /* EPERM for the leader of a group */
		if (s->at[i].exists && s->at[i].pgid == p->pid)
			return false;
	p->sid = p->pgid = p->pid;
	return true;
}

static bool sim_setpgid(struct sim *s, struct proc *p, int pgid)
{
	bool found = pgid == p->pid;

	if (p->sid == p->pid)
		return false;
	for (int i = 0; i < s->n; i++)
		found |= s->at[i].exists && s->at[i].pgid == pgid && s->at[i].sid == p->sid;
	if (found)
		p->pgid = pgid;
	return found;
}

static void random_history(struct sim *s, int steps)
{
	int next = FIRST_PID;

	memset(s, 0, sizeof(*s));
	s->at[s->n++] = (struct proc){ .pid = next, .sid = next, .pgid = next, .exists = true };
	next++;
	while (steps--) {
		struct proc *p = &s->at[rnd((unsigned)s->n)];

		if (!p->exists || p->zombie)
			continue;
		switch (rnd(8)) {
		case 0:
		case 1:
		case 2:
			if (s->n < MAX / 2)
				sim_fork(s, p, next++);
			break;
		case 3:
			sim_setsid(s, p);
			break;
		case 4:
			sim_setpgid(s, p, p->pid);
			break;
		case 5: {
			struct proc *q = &s->at[rnd((unsigned)s->n)];

			if (q->exists)
				sim_setpgid(s, p, q->pgid);
			break;
		}
		case 6:
			if (p->pid != FIRST_PID)
				sim_exit(s, p, rnd(2));
			break;
		case 7:
			/* kept simple: one subreaper, the root, so that heirs do not depend on order */
			break;
		}
	}
}

static void to_world(struct sim *s, struct world *w, struct proc *p, struct task *parent)
{
	struct err err = ERR_INIT;
	struct task *t;

	if (world_add_task(w, parent, p->pid, 1, &t, &err) < 0)
		abort();
	t->pgid = p->pgid;
	t->sid = p->sid;
	t->state = p->zombie ? TASK_DEAD : TASK_ALIVE;
	for (int i = 0; i < s->n; i++)
		if (s->at[i].exists && s->at[i].ppid == p->pid)
			to_world(s, w, &s->at[i], t);
}

/* Carries the plan out; NULL or what the kernel would have refused. */
static const char *perform(const struct plan *p, struct sim *k)
{
	int pids[2 * MAX] = { 0 }, spare = 5000;

	memset(k, 0, sizeof(*k));
	for (size_t i = 0; i < p->n_steps; i++) {
		const struct step *s = &p->steps[i];
		struct actor *x = s->actor;
		struct proc *me = pids[x->index] ? find(k, pids[x->index]) : NULL, *by;

		switch (s->kind) {
		case STEP_START:
			k->at[k->n++] = (struct proc){ .pid = x->pid, .sid = 1, .pgid = 1,
				.exists = true, .reaper = true };
			pids[x->index] = x->pid;
			break;
		case STEP_FORK:
			by = find(k, pids[x->by->index]);
			if (!by || k->n == MAX)
				return "forked by nobody";
			pids[x->index] = x->pid ? x->pid : spare++;
			if (find(k, pids[x->index]) ||
				(session_has_pid(k, pids[x->index]) && x->pid))
				return "pid in use";
			me = sim_fork(k, by, pids[x->index]);
			if (x->flags & CLONE_PARENT)
				me->ppid = by->ppid;
			break;
		case STEP_SETSID:
			if (!me || !sim_setsid(k, me))
				return "setsid refused";
			break;
		case STEP_SUBREAPER:
			if (!me)
				return "subreaper is not there";
			me->reaper = true;
			break;
		case STEP_GROUP:
			if (!me || !sim_setpgid(k, me, s->pgid ? s->pgid : me->pid))
				return "setpgid refused";
			break;
		case STEP_BUILD:
			break;
		case STEP_END:
			if (!me || me->ppid != pids[x->parent->index])
				return "helper has another parent";
			sim_exit(k, me, true);
			break;
		case STEP_DIE:
			if (!me)
				return "zombie is not there";
			sim_exit(k, me, false);
			break;
		}
	}
	return NULL;
}

static const char *differs(struct sim *want, struct sim *got)
{
	int n = 0, m = 0;

	for (int i = 0; i < got->n; i++)
		m += got->at[i].exists;
	for (int i = 0; i < want->n; i++) {
		struct proc *a = &want->at[i], *b;

		if (!a->exists)
			continue;
		n++;
		b = find(got, a->pid);
		if (!b)
			return "a task is missing";
		if (a->ppid && a->ppid != b->ppid)
			return "another parent";
		if (a->sid != b->sid)
			return "another session";
		if (a->pgid != b->pgid)
			return "another group";
		if (a->zombie != b->zombie)
			return "dead or alive";
	}
	return n == m ? NULL : "someone is left over";
}

static int one(unsigned long number, bool verbose)
{
	struct world *w = world_new();
	struct err err = ERR_INIT;
	struct options o = { 0 };
	struct sim want, got;
	struct plan plan;
	const char *bad;
	int r;

	seed = number;
	random_history(&want, 120);
	to_world(&want, w, &want.at[0], NULL);
	r = plan_make(w, &o, &plan, &err);
	bad = r < 0 ? err.text : perform(&plan, &got);
	if (!bad)
		bad = differs(&want, &got);
	if (bad && verbose) {
		printf("# history %lu: %s\n", number, bad);
		for (int i = 0; i < want.n; i++)
			if (want.at[i].exists)
				printf("#   pid %d ppid %d sid %d pgid %d%s\n", want.at[i].pid,
					want.at[i].ppid, want.at[i].sid, want.at[i].pgid,
					want.at[i].zombie ? " zombie" : "");
		if (r == 0)
			plan_print(&plan, stdout);
	}
	world_free(w);
	return bad ? 1 : 0;
}

int main(int argc, char **argv)
{
	unsigned long n = 20000, bad = 0;

	if (argc > 1)
		return one(strtoul(argv[1], NULL, 10), true);
	for (unsigned long i = 0; i < n; i++)
		bad += (unsigned long)one(i, bad < 1);
	printf("%sok 1 - %lu of %lu random trees come out as they were\n", bad ? "not " : "", n - bad,
		n);
	printf("1..1\n");
	return bad != 0;
}
