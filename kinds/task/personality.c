// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the execution domain: /proc/PID/personality, personality(2). The image's field holds the
 * file's hexadecimal digits read as a decimal number and is of no use; the value stands in torpor's
 * own message. Set when the memory is complete, because READ_IMPLIES_EXEC changes what mmap(2)
 * does; by every thread, because it is a thread's own.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <sys/personality.h>
#include <sys/syscall.h>

static int personality_look(struct look *l, struct err *err)
{
	TaskCoreEntry *tc;
	TorporTaskEntry *extra = l->thread->task->extra;
	auto_free char *text = NULL;
	struct cursor c;
	uint32_t value;
	int r;

	if (!is_speaker(l->thread))
		return 0;
	tc = own_tc(l);
	r = io_slurp_at(l->proc, "personality", &text, NULL);
	if (r == 0) {
		c = cursor_of(text);
		if (!parse_u32(&c, 16, &value))
			r = -EINVAL;
	}
	if (r < 0)
		return err_sysn(err, -r, "cannot read the personality of task %d", l->tgid);
	c = cursor_of(text);
	if (!parse_u32(&c, 10, &tc->personality))
		tc->personality = 0;
	if (value) {
		extra->has_personality = true;
		extra->personality = value;
	}
	return 0;
}

/* Without torpor's message nobody knows the value: the thread keeps ours. */
static int personality_tell(struct tape *t, const struct arise *a, struct err *err)
{
	const TorporTaskEntry *extra = a->thread->task->extra;

	if (extra->has_personality)
		tape_call(t, "personality", TAPE_MUST, SYS_personality, T(extra->personality));
	return 0;
}

const struct facet facet_personality = {
	.name = "personality",
	.scope = PER_THREAD,
	.phase = PHASE_THREAD,
	.look = personality_look,
	.tell = personality_tell,
};
