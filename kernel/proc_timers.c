// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Four lines per timer:
 *   ID: 123
 *   signal: 10/0000000000000000
 *   notify: signal/pid.42          (signal, none, thread; pid or tid)
 *   ClockID: 1
 */
#include "kernel/proc_timers.h"
#include <errno.h>

static bool take_i32(struct cursor *c, int32_t *ret)
{
	struct cursor save = *c;
	int64_t v;

	if (!parse_i64(c, &v) || v < INT32_MIN || v > INT32_MAX) {
		*c = save;
		return false;
	}
	*ret = (int32_t)v;
	return true;
}

static bool take_signal(struct cursor *c, struct proc_timer *t)
{
	return parse_lit(c, "signal: ") && take_i32(c, &t->signo) && parse_lit(c, "/") &&
	       parse_u64(c, 16, &t->sival);
}

static bool take_notify(struct cursor *c, struct proc_timer *t)
{
	static const char *const ways[] = { "signal/", "none/", "thread/" };
	bool thread_id;

	if (!parse_lit(c, "notify: "))
		return false;
	for (int i = 0; i < 3; i++) {
		if (!parse_lit(c, ways[i]))
			continue;
		thread_id = parse_lit(c, "tid.");
		t->notify = i | (thread_id ? 4 : 0);
		return (thread_id || parse_lit(c, "pid.")) && take_i32(c, &t->target);
	}
	return false;
}

int proc_timers_next(struct cursor *c, struct proc_timer *ret, struct err *err)
{
	struct proc_timer t = { 0 };
	struct cursor line;

	if (cursor_done(c))
		return 0;
	if (!parse_line(c, &line) || !parse_lit(&line, "ID: ") || !take_i32(&line, &t.id) ||
		!parse_line(c, &line) || !take_signal(&line, &t) || !parse_line(c, &line) ||
		!take_notify(&line, &t) || !parse_line(c, &line) ||
		!parse_lit(&line, "ClockID: ") || !take_i32(&line, &t.clock))
		return err_set(
			err, ERR_KERNEL, EINVAL, "a timers file in /proc cannot be understood");
	*ret = t;
	return 1;
}
