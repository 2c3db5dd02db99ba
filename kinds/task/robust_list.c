// SPDX-License-Identifier: GPL-2.0-or-later
/* Room of the list of robust futexes: get_robust_list(2), set_robust_list(2). */
#include "kernel/thread_calls.h"
#include "kinds/task/family.h"
#include <sys/syscall.h>

static int robust_look(struct look *l, struct err *err)
{
	ThreadCoreEntry *core = own_core(l);
	uint64_t head, len;
	char who[THREAD_NAME];
	int r = thread_get_robust_list(l->tid, &head, &len);

	if (r < 0)
		return err_sysn(err, -r, "cannot read the robust list of %s",
			thread_name(l->thread, who, sizeof(who)));
	core->futex_rla = head;
	core->futex_rla_len = (uint32_t)len;
	return 0;
}

static int robust_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadCoreEntry *core = a->thread->core->thread_core;

	if (core && core->futex_rla)
		tape_call(t, "robust-list", TAPE_MUST, SYS_set_robust_list, T(core->futex_rla),
			T(core->futex_rla_len));
	return 0;
}

const struct facet facet_robust_list = {
	.name = "robust-list",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.look = robust_look,
	.tell = robust_tell,
};
