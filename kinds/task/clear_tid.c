// SPDX-License-Identifier: GPL-2.0-or-later
/* Room of the address that is cleared when a thread ends: set_tid_address(2). */
#include "kinds/task/family.h"
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int clear_tid_ask(struct tape *t, struct look *l, struct cue *cue, struct err *err)
{
	cue->at[1] = tape_room(t, sizeof(uint64_t));
	cue->at[0] =
		tape_call(t, "clear-tid", 0, SYS_prctl, T(PR_GET_TID_ADDRESS), T_DATA(cue->at[1]));
	return 0;
}

static int clear_tid_learn(
	const struct tape *t, struct look *l, const struct cue *cue, struct err *err)
{
	int64_t r = tape_result(t, cue->at[0]);
	char who[THREAD_NAME];

	if (r < 0)
		return err_set(err, ERR_KERNEL, r == -EINVAL ? ENOSYS : EIO,
			"%s cannot tell its clear_child_tid address (prctl(PR_GET_TID_ADDRESS) "
			"gave "
			"%lld; the kernel needs CONFIG_CHECKPOINT_RESTORE)",
			thread_name(l->thread, who, sizeof(who)), (long long)r);
	core_ensure(l->world, l->thread);
	l->thread->core->thread_info->clear_tid_addr = *(const uint64_t *)tape_at(t, cue->at[1]);
	return 0;
}

static int clear_tid_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const ThreadInfoX86 *info = a->thread->core->thread_info;

	if (info && info->clear_tid_addr)
		tape_call(t, "clear-tid", TAPE_MUST, SYS_set_tid_address, T(info->clear_tid_addr));
	return 0;
}

const struct facet facet_clear_tid = {
	.name = "clear-tid",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.ask = clear_tid_ask,
	.learn = clear_tid_learn,
	.tell = clear_tid_tell,
};
