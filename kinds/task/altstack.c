// SPDX-License-Identifier: GPL-2.0-or-later
/* Room of the alternate signal stack: sigaltstack(2). */
#include "kinds/task/family.h"
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#define AUTODISARM ((int)(1U << 31)) /* linux/signal.h, which cannot stand beside signal.h */

static int altstack_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[1] = tape_room(t, sizeof(stack_t));
	cue->at[0] = tape_call(t, "altstack", 0, SYS_sigaltstack, T(0), T_DATA(cue->at[1]));
	return 0;
}

static int altstack_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	const stack_t *ss = tape_at(t, cue->at[1]);
	int64_t r = tape_result(t, cue->at[0]);
	ThreadSasEntry *sas;
	char who[THREAD_NAME];

	if (r < 0)
		return err_sysn(err, (int)-r, "cannot read the alternate stack of %s",
			thread_name(l->thread, who, sizeof(who)));
	sas = arena_msg(l->world->arena, ThreadSasEntry, thread_sas_entry);
	sas->ss_sp = (uint64_t)(uintptr_t)ss->ss_sp;
	sas->ss_size = ss->ss_size;
	/* SS_ONSTACK says where the player's stack is, nothing about the thread */
	sas->ss_flags = (uint32_t)ss->ss_flags & ~(uint32_t)SS_ONSTACK;
	own_core(l)->sas = sas;
	return 0;
}

static int altstack_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;
	const ThreadSasEntry *sas = core ? core->sas : NULL;
	stack_t ss = { .ss_flags = SS_DISABLE };

	if (sas) {
		ss.ss_sp = (void *)(uintptr_t)sas->ss_sp;
		ss.ss_size = sas->ss_size;
		ss.ss_flags = (int)(sas->ss_flags & ~(uint32_t)SS_ONSTACK);
		/* none; whether sigaltstack(2) takes this depends on what the thread was born with */
		if (!ss.ss_size && !(ss.ss_flags & ~AUTODISARM))
			ss.ss_flags = SS_DISABLE;
	}
	tape_call(t, "altstack", TAPE_MUST, SYS_sigaltstack, T_DATA(tape_data(t, &ss, sizeof(ss))),
		T(0));
	return 0;
}

const struct facet facet_altstack = {
	.name = "altstack",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.ask = altstack_ask,
	.learn = altstack_learn,
	.tell = altstack_tell,
};
