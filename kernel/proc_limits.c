// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/proc_limits.h"
#include "base/parse.h"
#include <errno.h>

/* In the order of RLIMIT_* numbers; the words behind "Max " in the file. */
static const char *const names[PROC_N_LIMITS] = { "cpu time", "file size", "data size",
	"stack size", "core file size", "resident set", "processes", "open files", "locked memory",
	"address space", "file locks", "pending signals", "msgqueue size", "nice priority",
	"realtime priority", "realtime timeout" };

const char *proc_limit_name(unsigned number)
{
	return names[number % PROC_N_LIMITS];
}

static bool take_limit(struct cursor *c, uint64_t *ret)
{
	parse_blanks(c);
	if (parse_lit(c, "unlimited")) {
		*ret = UINT64_MAX;
		return true;
	}
	return parse_u64(c, 10, ret);
}

int proc_limits_parse(const char *text, struct proc_limits *ret, struct err *err)
{
	struct cursor c = cursor_of(text), line;
	struct proc_limits l = { 0 };
	uint32_t seen = 0;

	while (parse_line(&c, &line)) {
		if (!parse_lit(&line, "Max "))
			continue;
		for (unsigned i = 0; i < PROC_N_LIMITS; i++) {
			if (!parse_lit(&line, names[i]))
				continue;
			if (take_limit(&line, &l.at[i].cur) && take_limit(&line, &l.at[i].max))
				seen |= 1u << i;
			break;
		}
	}
	if (seen != (1u << PROC_N_LIMITS) - 1)
		return err_set(
			err, ERR_KERNEL, EINVAL, "a limits file in /proc cannot be understood");
	*ret = l;
	return 0;
}
