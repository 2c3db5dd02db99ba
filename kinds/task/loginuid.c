// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Room of the audit login uid: /proc/PID/loginuid, absent in kernels without audit. Only a task
 * itself may write it, and only where its /proc is; so it is written first of all, and what did
 * not work is a warning. 4294967295 means unset.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/parse.h"
#include "kinds/task/family.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int read_loginuid(pid_t tgid, uint32_t *ret)
{
	auto_free char *text = NULL;
	struct cursor c;
	int r = io_slurpf(&text, NULL, "/proc/%d/loginuid", tgid);

	if (r < 0)
		return r;
	c = cursor_of(text);
	return parse_u32(&c, 10, ret) ? 0 : -EINVAL;
}

static int loginuid_look(struct look *l, struct err *err)
{
	TaskCoreEntry *tc = own_tc(l);
	uint32_t uid;
	int r = read_loginuid(l->tgid, &uid);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return err_sysn(err, -r, "cannot read the login uid of task %d", l->tgid);
	tc->has_loginuid = true;
	tc->loginuid = uid;
	return 0;
}

/* A husk has ours. */
static bool is_wanted(const struct arise *a)
{
	const TaskCoreEntry *tc = tc_of(a->thread);
	uint32_t now;

	return tc && tc->has_loginuid && tc->loginuid != UINT32_MAX &&
	       read_loginuid(getpid(), &now) == 0 && now != tc->loginuid;
}

static int loginuid_tell(struct tape *t, const struct arise *a, struct err *err)
{
	static const char path[] = "/proc/self/loginuid";
	char text[16];
	size_t fd;

	if (!is_wanted(a))
		return 0;
	snprintf(text, sizeof(text), "%u", tc_of(a->thread)->loginuid);
	fd = tape_call(t, "loginuid", 0, SYS_openat, T(AT_FDCWD),
		T_DATA(tape_data(t, path, sizeof(path))), T(O_WRONLY | O_CLOEXEC));
	tape_call(t, "loginuid", 0, SYS_write, T_RESULT(fd),
		T_DATA(tape_data(t, text, strlen(text))), T(strlen(text)));
	tape_call(t, "loginuid", 0, SYS_close, T_RESULT(fd));
	return 0;
}

static int loginuid_set(const struct arise *a, struct err *err)
{
	uint32_t now;

	if (is_wanted(a) && (read_loginuid(a->tgid, &now) < 0 || now != tc_of(a->thread)->loginuid))
		log_warn("login uid of task %d cannot become %u, it stays as torpor's own",
			a->thread->task->pid, tc_of(a->thread)->loginuid);
	return 0;
}

const struct facet facet_loginuid = {
	.name = "loginuid",
	.scope = PER_TASK,
	.phase = PHASE_EARLY,
	.look = loginuid_look,
	.tell = loginuid_tell,
	.set = loginuid_set,
};
