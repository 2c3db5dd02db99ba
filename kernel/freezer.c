// SPDX-License-Identifier: GPL-2.0-or-later
/* See kernel/freezer.h. */
#include "kernel/freezer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "kernel/cgroup2.h"
#include <stdio.h>
#include <string.h>

/* The path in a line such as "7:cpu,freezer:/a/b"; false if it is another hierarchy's. */
static bool parse_freezer_line(struct cursor line, struct cursor *ret_path)
{
	const char *names = memchr(line.at, ':', (size_t)(line.end - line.at));
	const char *end = names ? memchr(names + 1, ':', (size_t)(line.end - names - 1)) : NULL;
	struct cursor c = { names, end };

	if (!end)
		return false;
	*ret_path = (struct cursor){ end + 1, line.end };
	while (c.at < c.end) {
		c.at++;
		if (parse_lit(&c, "freezer") && (c.at == c.end || *c.at == ','))
			return true;
		while (c.at < c.end && *c.at != ',')
			c.at++;
	}
	return false;
}

bool freezer_path(const char *text, struct cursor *ret)
{
	struct cursor c = cursor_of(text), line;

	while (parse_line(&c, &line))
		if (parse_freezer_line(line, ret))
			return true;
	return false;
}

static bool frozen_v1(pid_t pid, struct frozen_group *ret)
{
	char mount[PATH_MAX / 2];
	auto_free char *groups = NULL;
	auto_free char *state = NULL;
	struct cursor path;

	if (io_slurpf(&groups, NULL, "/proc/%d/cgroup", pid) < 0 ||
		!cgroup_mount("cgroup", "freezer", mount, sizeof(mount)))
		return false;
	ret->file = "freezer.state";
	return freezer_path(groups, &path) &&
		snprintf(ret->folder, sizeof(ret->folder), "%s%.*s", mount,
			(int)(path.end - path.at), path.at) < (int)sizeof(ret->folder) &&
		io_slurpf(&state, NULL, "%s/%s", ret->folder, ret->file) == 0 &&
		!strncmp(state, "FR", 2); /* FREEZING, FROZEN; or THAWED */
}

static bool frozen_v2(pid_t pid, struct frozen_group *ret)
{
	struct cgroup2 group;

	if (!cgroup2_of_task(pid, &group) || !cgroup2_is_frozen(&group))
		return false;
	snprintf(ret->folder, sizeof(ret->folder), "%s", group.folder);
	ret->file = "cgroup.freeze";
	return true;
}

bool frozen_group_of(pid_t pid, struct frozen_group *ret)
{
	return frozen_v2(pid, ret) || frozen_v1(pid, ret);
}
