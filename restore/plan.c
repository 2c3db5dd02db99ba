// SPDX-License-Identifier: GPL-2.0-or-later
#include "restore/plan.h"
#include "kinds/mem/mm.h"
#include <errno.h>
#include <linux/sched.h>
#include <stdio.h>

struct planner {
	struct world *w;
	struct arena *a;
	struct plan *p;
	struct table helpers; /* pid -> helper actor that stands for a dead leader */
	/*
	 * session whose leader is gone -> the lowest task above all its members: the leader was
	 * its child, or born below it, so a helper that stands for the leader is its child
	 */
	struct table anchors;
	bool lazy; /* memory comes later: nothing to share with a parent's */
	struct err *err;
};

static struct actor *actor_of(const struct planner *pl, const struct task *t)
{
	return pl->p->actors[t->index];
}

static struct actor *add_actor(struct planner *pl, struct task *t, pid_t pid)
{
	struct actor *x = arena_new_of(pl->a, struct actor);

	x->task = t;
	x->pid = pid;
	x->index = pl->p->n_actors;
	arena_push(pl->a, pl->p->actors, pl->p->n_actors, x);
	return x;
}

static void add_step(struct planner *pl, enum step_kind kind, struct actor *x, pid_t pgid)
{
	struct step s = { .kind = kind, .actor = x, .pgid = pgid };

	arena_push(pl->a, pl->p->steps, pl->p->n_steps, s);
}

static void created_by(struct actor *x, struct actor *by, struct actor *parent, uint64_t flags)
{
	x->by = by;
	x->parent = parent;
	x->flags = flags;
	if (by->last)
		by->last->next = x;
	else
		by->first = x;
	by->last = x;
}

static bool is_leader(const struct task *t)
{
	return t->sid == t->pid;
}

/* ---- births ---- */

static bool is_below(const struct task *t, const struct task *ancestor)
{
	for (t = t->parent; t; t = t->parent)
		if (t == ancestor)
			return true;
	return false;
}

static size_t depth_of(const struct task *t)
{
	size_t n = 0;

	while ((t = t->parent))
		n++;
	return n;
}

/* The lowest task that is a or above it and b or above it. */
static struct task *common_ancestor(struct task *a, struct task *b)
{
	size_t da = depth_of(a), db = depth_of(b);

	for (; da > db; da--)
		a = a->parent;
	for (; db > da; db--)
		b = b->parent;
	while (a != b) {
		a = a->parent;
		b = b->parent;
	}
	return a;
}

static void find_anchors(struct planner *pl)
{
	world_each_task(t, pl->w) {
		struct task *a = table_get(&pl->anchors, (uint64_t)t->sid);

		if (t->parent && !world_task(pl->w, t->sid))
			table_put(&pl->anchors, (uint64_t)t->sid,
				a ? common_ancestor(a, t->parent) : t->parent);
	}
}

/* Is t's birth the way by which session s came to its children? */
static bool brings_session(const struct planner *pl, const struct task *t, pid_t s)
{
	const struct task *leader = world_task(pl->w, s);

	if (!s || s == t->sid)
		return false;
	if (leader)
		return !is_below(leader, t);
	return s == pl->p->outer_sid || table_get(&pl->anchors, (uint64_t)s) != t;
}

/* The session a session leader must be born in for its children's sake; 0: any. */
static pid_t wanted_session(const struct planner *pl, const struct task *t)
{
	task_each_child(c, t) {
		pid_t s = is_leader(c) ? wanted_session(pl, c) : c->sid;

		if (brings_session(pl, t, s))
			return s;
	}
	return 0;
}

/* A process that stands for the session leader with this pid, as a child of the anchor. */
static struct actor *session_helper(struct planner *pl, pid_t sid)
{
	struct actor *h = table_get(&pl->helpers, (uint64_t)sid);
	struct actor *parent;

	if (h)
		return h;
	parent = actor_of(pl, table_get(&pl->anchors, (uint64_t)sid));
	h = add_actor(pl, NULL, sid);
	h->born_sid = parent->task->sid;
	created_by(h, parent, parent, 0);
	table_put(&pl->helpers, (uint64_t)sid, h);
	return h;
}

/* t falls to its parent when a helper below `from` exits. */
static void orphan_birth(struct planner *pl, struct actor *x, struct actor *from,
	struct actor *parent)
{
	struct actor *m = add_actor(pl, NULL, 0);

	m->born_sid = x->born_sid;
	created_by(m, from, from, 0);
	created_by(x, m, parent, 0);
}

/* x comes into session sid, the one it is born in, by one of the ways in plan.h. */
static int birth(struct planner *pl, struct actor *x, struct actor *parent, pid_t sid)
{
	struct task *t = x->task, *p = t->parent, *leader = world_task(pl->w, sid);
	struct actor *h;

	x->born_sid = sid;
	if (p->sid == sid) {
		created_by(x, parent, parent, 0);
	} else if (is_leader(p) && parent->born_sid == sid) {
		created_by(x, parent, parent, 0);
		x->early = true;
	} else if (leader && is_leader(leader) && leader->parent == p) {
		created_by(x, actor_of(pl, leader), parent, CLONE_PARENT);
	} else if (leader && is_leader(leader) && is_below(leader, p)) {
		orphan_birth(pl, x, actor_of(pl, leader), parent);
	} else if (!leader && (h = session_helper(pl, sid))->parent == parent) {
		created_by(x, h, parent, CLONE_PARENT);
	} else {
		return err_unsupported(pl->err,
			"task %d (%s) was born in session %d, which its parent %d cannot have "
			"given it", t->pid, task_comm(t), sid, p->pid);
	}
	return 0;
}

static bool shares(uint32_t mine, uint32_t theirs)
{
	return mine && mine == theirs;
}

/* Which tables it shares with its creator, and whether it starts with the creator's memory. */
static void birth_sharing(const struct planner *pl, struct actor *x)
{
	const struct task *t = x->task, *by = x->by->task;

	if (!by || x->by != x->parent || !t->ids || !by->ids)
		return;
	if (shares(t->ids->files_id, by->ids->files_id))
		x->flags |= CLONE_FILES;
	if (shares(t->ids->fs_id, by->ids->fs_id))
		x->flags |= CLONE_FS;
	x->inherits = !pl->lazy && task_is_alive(t) && task_is_alive(by) && mm_inherits(t, by);
}

static int plan_births(struct planner *pl)
{
	world_each_task(t, pl->w) {
		struct actor *x = actor_of(pl, t), *parent;
		pid_t sid;
		int r;

		if (!t->parent) {
			x->born_sid = is_leader(t) ? 0 : t->sid;
			continue;
		}
		parent = actor_of(pl, t->parent);
		sid = is_leader(t) ? wanted_session(pl, t) : t->sid;
		r = birth(pl, x, parent, sid ? sid : t->parent->sid);
		if (r < 0)
			return r;
		birth_sharing(pl, x);
	}
	return 0;
}

/* ---- steps ---- */

static bool needs_setsid(const struct actor *x)
{
	return x->task ? is_leader(x->task) : x->pid != 0;
}

static bool is_orphan(const struct actor *x)
{
	return x->task && x->by && x->by != x->parent && !(x->flags & CLONE_PARENT);
}

/* Forks all of one sort; true if there was any. */
static bool fork_some(struct planner *pl, struct actor *x, bool early, bool inherits)
{
	bool any = false;

	for (struct actor *c = x->first; c; c = c->next) {
		if (c->early != early || c->inherits != inherits)
			continue;
		add_step(pl, STEP_FORK, c, 0);
		any = true;
	}
	return any;
}

static bool has_early_heir(const struct actor *x)
{
	for (const struct actor *c = x->first; c; c = c->next)
		if (c->early && c->inherits)
			return true;
	return false;
}

static void plan_actor(struct planner *pl, struct actor *x)
{
	bool late_sid = has_early_heir(x);

	fork_some(pl, x, true, false);
	if (needs_setsid(x) && !late_sid)
		add_step(pl, STEP_SETSID, x, 0);
	if (!late_sid)
		fork_some(pl, x, false, false);
	if (x->task && task_is_alive(x->task))
		add_step(pl, STEP_BUILD, x, 0);
	if (late_sid) {
		fork_some(pl, x, true, true);
		add_step(pl, STEP_SETSID, x, 0);
		fork_some(pl, x, false, false);
	}
	fork_some(pl, x, false, true);
	for (struct actor *c = x->first; c; c = c->next)
		plan_actor(pl, c);
}

static void plan_subreapers(struct planner *pl)
{
	for (size_t i = 0; i < pl->p->n_actors; i++) {
		const struct actor *x = pl->p->actors[i];

		if (is_orphan(x))
			add_step(pl, STEP_SUBREAPER, x->parent, 0);
	}
}

/* ---- groups ---- */

static bool is_outer_group(const struct planner *pl, pid_t pgid)
{
	return pgid == 0 || (pl->p->outer_pgid && pgid == pl->p->outer_pgid);
}

/* Someone with the number pgid must lead the group before others can join. */
static void lead_group(struct planner *pl, struct task *member, struct table *led)
{
	struct task *leader = world_task(pl->w, member->pgid);
	struct actor *h = table_get(&pl->helpers, (uint64_t)member->pgid);

	if (table_get(led, (uint64_t)member->pgid))
		return;
	table_put(led, (uint64_t)member->pgid, pl);
	if (leader) {
		if (!is_leader(leader))
			add_step(pl, STEP_GROUP, actor_of(pl, leader), 0);
		return;
	}
	if (h)
		return; /* a session helper leads the group of its number, too */
	h = add_actor(pl, NULL, member->pgid);
	table_put(&pl->helpers, (uint64_t)member->pgid, h);
	created_by(h, actor_of(pl, member), actor_of(pl, member), 0);
	add_step(pl, STEP_FORK, h, 0);
	add_step(pl, STEP_GROUP, h, 0);
}

static bool is_moved(const struct planner *pl, const struct task *t)
{
	return actor_of(pl, t)->moved;
}

/*
 * Leaders (by number) that are members of another group. Such a group lives on without its leader
 * only if somebody else is in it: who joins it goes before its leader leaves. Each has one place to
 * go, so following the chain of those who wait gives an order; a ring of them is broken where a
 * group has other members.
 */
static void move_leaders(struct planner *pl, struct table *led)
{
	struct table waiting = { 0 }; /* group -> task that still has to join it */
	struct table joined = { 0 }; /* groups with members besides their leader */
	struct task **movers = NULL;
	size_t n = 0;

	world_each_task(t, pl->w)
		if (t->pgid != t->pid && !is_outer_group(pl, t->pgid) &&
			table_get(led, (uint64_t)t->pid))
			arena_push(pl->a, movers, n, t);
	world_each_task(t, pl->w)
		if (t->pgid != t->pid && !table_get(led, (uint64_t)t->pid))
			table_put(&joined, (uint64_t)t->pgid, t);
	for (size_t i = 0; i < n; i++)
		table_put(&waiting, (uint64_t)movers[i]->pgid, movers[i]);
	for (size_t i = 0; i < n; i++) {
		struct task *t = movers[i], *first;
		size_t hops = 0;

		/* from t back along those who wait to join the group that would become empty */
		while (!is_moved(pl, t) && hops++ <= n &&
			!table_get(&joined, (uint64_t)t->pid)) {
			first = table_get(&waiting, (uint64_t)t->pid);
			if (!first || is_moved(pl, first))
				break;
			t = first;
		}
		if (is_moved(pl, t))
			continue;
		add_step(pl, STEP_GROUP, actor_of(pl, t), t->pgid);
		actor_of(pl, t)->moved = true;
		table_put(&joined, (uint64_t)t->pgid, t);
		if (t != movers[i])
			i--; /* the chain is one shorter: again */
	}
	table_done(&waiting);
	table_done(&joined);
}

/* The groups which forks and new sessions bring; the first husk's is anybody's. */
static void follow_groups(struct planner *pl)
{
	for (size_t i = 0; i < pl->p->n_steps; i++) {
		struct actor *x = pl->p->steps[i].actor;

		if (pl->p->steps[i].kind == STEP_FORK)
			x->group = x->by->group;
		else if (pl->p->steps[i].kind == STEP_SETSID)
			x->group = x->pid;
	}
}

static void plan_groups(struct planner *pl)
{
	struct table led = { 0 };

	follow_groups(pl);

	world_each_task(t, pl->w)
		if (t->pgid != t->sid && !is_outer_group(pl, t->pgid))
			lead_group(pl, t, &led);
	world_each_task(t, pl->w)
		if (t->pgid != t->pid && !is_outer_group(pl, t->pgid) &&
			actor_of(pl, t)->group != t->pgid && !table_get(&led, (uint64_t)t->pid))
			add_step(pl, STEP_GROUP, actor_of(pl, t), t->pgid);
	move_leaders(pl, &led);
	table_done(&led);
}

/* Helpers end from the last to the first, a child before its parent; then zombies can die. */
static void plan_deaths(struct planner *pl)
{
	for (size_t i = pl->p->n_actors; i-- > 0;)
		if (!pl->p->actors[i]->task)
			add_step(pl, STEP_END, pl->p->actors[i], 0);
	for (size_t i = 0; i < pl->p->n_actors; i++) {
		struct actor *x = pl->p->actors[i];

		if (x->task && !task_is_alive(x->task))
			add_step(pl, STEP_DIE, x, 0);
	}
}

int plan_make(struct world *w, const struct options *o, struct plan *ret, struct err *err)
{
	struct planner pl = { .w = w, .a = w->arena, .p = ret, .err = err,
		.lazy = o->lazy_pages };
	struct task *root = w->root;
	int r;

	*ret = (struct plan){ 0 };
	if (root->sid != root->pid) {
		if (!o->shell_job)
			return err_unsupported(err,
				"task %d (%s) belongs to session %d, whose leader is outside the "
				"tree; use --shell-job to put it into this session", root->pid,
				task_comm(root), root->sid);
		ret->outer_sid = root->sid;
		if (root->pgid != root->pid && !world_task(w, root->pgid))
			ret->outer_pgid = root->pgid;
	}
	world_each_task(t, w)
		add_actor(&pl, t, t->pid);
	find_anchors(&pl);
	r = plan_births(&pl);
	if (r == 0) {
		add_step(&pl, STEP_START, actor_of(&pl, root), 0);
		plan_actor(&pl, actor_of(&pl, root));
		plan_subreapers(&pl);
		plan_groups(&pl);
		plan_deaths(&pl);
	}
	table_done(&pl.helpers);
	table_done(&pl.anchors);
	return r;
}

/* ---- for people ---- */

static const char *step_name(enum step_kind kind)
{
	static const char *const names[] = {
		[STEP_START] = "start", [STEP_FORK] = "fork", [STEP_SETSID] = "setsid",
		[STEP_SUBREAPER] = "subreaper", [STEP_BUILD] = "memory", [STEP_GROUP] = "group",
		[STEP_END] = "end", [STEP_DIE] = "die",
	};

	return names[kind];
}

static const char *actor_name(const struct actor *x, char *buf, size_t size)
{
	if (x->task)
		snprintf(buf, size, "%d (%s)", x->pid, task_comm(x->task));
	else if (x->pid)
		snprintf(buf, size, "helper %d", x->pid);
	else
		snprintf(buf, size, "helper #%zu", x->index);
	return buf;
}

void plan_print(const struct plan *p, FILE *out)
{
	char name[64], by[64];

	for (size_t i = 0; i < p->n_steps; i++) {
		const struct step *s = &p->steps[i];
		const struct actor *x = s->actor;

		fprintf(out, "%4zu  %-10s %s", i + 1, step_name(s->kind),
			actor_name(x, name, sizeof(name)));
		if (s->kind == STEP_FORK)
			fprintf(out, "  by %s%s%s%s%s", actor_name(x->by, by, sizeof(by)),
				x->flags & CLONE_PARENT ? ", as its sibling" : "",
				x->flags & CLONE_FILES ? ", same descriptors" : "",
				x->flags & CLONE_FS ? ", same directories" : "",
				x->inherits ? ", with its memory" : "");
		if (s->kind == STEP_GROUP)
			fprintf(out, "  %d", s->pgid ? s->pgid : x->pid);
		fputc('\n', out);
	}
}

void plan_print_json(const struct plan *p, FILE *out)
{
	fputc('[', out);
	for (size_t i = 0; i < p->n_steps; i++) {
		const struct step *s = &p->steps[i];

		fprintf(out, "%s{\"step\": \"%s\", \"pid\": %d, \"helper\": %s",
			i ? ",\n " : "", step_name(s->kind), s->actor->pid,
			s->actor->task ? "false" : "true");
		if (s->kind == STEP_FORK)
			fprintf(out, ", \"by\": %d, \"inherits\": %s", s->actor->by->pid,
				s->actor->inherits ? "true" : "false");
		if (s->kind == STEP_GROUP)
			fprintf(out, ", \"pgid\": %d", s->pgid ? s->pgid : s->actor->pid);
		fputc('}', out);
	}
	fprintf(out, "]\n");
}
