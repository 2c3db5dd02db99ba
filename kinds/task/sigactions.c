// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of signal actions: all 64 by rt_sigaction(2) in one tape. The image holds 62 in order,
 * without SIGKILL and SIGSTOP. One action that is ignored flushes such signals, so pending ones
 * come later.
 */
#include "kinds/task/family.h"
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	N_SIGNALS = 64,
	N_SAVED = 62,
	SET_LEN = 8,
};

/* struct sigaction of the kernel (arch/x86/include/uapi/asm/signal.h) */
struct action {
	uint64_t handler, flags, restorer, mask;
};

static bool is_fixed(int signo)
{
	return signo == SIGKILL || signo == SIGSTOP;
}

static int sigactions_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[1] = tape_room(t, N_SIGNALS * sizeof(struct action));
	cue->at[0] = tape_calls(t);
	for (int s = 1; s <= N_SIGNALS; s++)
		if (!is_fixed(s))
			tape_call(t, "sigactions", 0, SYS_rt_sigaction, T(s), T(0),
				T_DATA(cue->at[1] + (size_t)(s - 1) * sizeof(struct action)),
				T(SET_LEN));
	return 0;
}

static int sigactions_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	const struct action *acts = tape_at(t, cue->at[1]);
	struct arena *a = l->world->arena;
	TaskCoreEntry *tc = own_tc(l);
	char who[THREAD_NAME];

	tc->sigactions = arena_array(a, N_SAVED, sizeof(*tc->sigactions));
	tc->n_sigactions = 0;
	for (int s = 1; s <= N_SIGNALS; s++) {
		SaEntry *e;
		int64_t r;

		if (is_fixed(s))
			continue;
		r = tape_result(t, cue->at[0] + tc->n_sigactions);
		if (r < 0)
			return err_sysn(err, (int)-r, "cannot read the action for signal %d of %s",
				s, thread_name(l->thread, who, sizeof(who)));
		e = arena_msg(a, SaEntry, sa_entry);
		e->sigaction = acts[s - 1].handler;
		e->flags = acts[s - 1].flags;
		e->restorer = acts[s - 1].restorer;
		e->mask = acts[s - 1].mask;
		e->has_compat_sigaction = true;
		tc->sigactions[tc->n_sigactions++] = e;
	}
	return 0;
}

static void sigactions_check(const struct world *w, const struct thread *th, struct findings *f)
{
	const TaskCoreEntry *tc = tc_of(th);

	if (tc && task_is_alive(th->task) && tc->n_sigactions != N_SAVED)
		finding_add(f, "sigactions-number", SEV_ERROR, th->task->pid,
			"core image of task %d has %zu signal actions instead of %d", th->task->pid,
			tc->n_sigactions, N_SAVED);
}

/* A bit for each signal which torpor ignores: husks do so, too, as exec(2) lets that stand. */
static uint64_t ignored_here(const struct arise *a)
{
	uint64_t *ours = a->ours ? table_get(a->ours, (uintptr_t)&facet_sigactions) : NULL;

	if (ours)
		return *ours;
	ours = arena_new_of(a->world->arena, uint64_t);
	for (int s = 1; s <= N_SIGNALS; s++) {
		struct action act = { 0 };

		if (syscall(SYS_rt_sigaction, s, NULL, &act, SET_LEN) == 0 && act.handler)
			*ours |= 1ull << (s - 1);
	}
	if (a->ours)
		table_put(a->ours, (uintptr_t)&facet_sigactions, ours);
	return *ours;
}

/* What a husk has for every signal that torpor did not ignore. */
static bool is_default(const struct action *act)
{
	return !act->handler && !act->flags && !act->restorer && !act->mask;
}

static int sigactions_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TaskCoreEntry *tc = tc_of(a->thread);
	uint64_t other = ignored_here(a);
	size_t i = 0;

	if (!tc || tc->n_sigactions != N_SAVED)
		return err_image(
			err, "signal actions of task %d are incomplete", a->thread->task->pid);
	for (int s = 1; s <= N_SIGNALS; s++) {
		struct action act;
		const SaEntry *e;

		if (is_fixed(s))
			continue;
		e = tc->sigactions[i++];
		act = (struct action){ e->sigaction, e->flags, e->restorer, e->mask };
		if (is_default(&act) && !(other >> (s - 1) & 1))
			continue;
		tape_call(t, "sigactions", TAPE_MUST, SYS_rt_sigaction, T(s),
			T_DATA(tape_data(t, &act, sizeof(act))), T(0), T(SET_LEN));
	}
	return 0;
}

const struct facet facet_sigactions = {
	.name = "sigactions",
	.scope = PER_TASK,
	.phase = PHASE_TASK,
	.ask = sigactions_ask,
	.learn = sigactions_learn,
	.check = sigactions_check,
	.tell = sigactions_tell,
};
