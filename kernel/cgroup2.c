// SPDX-License-Identifier: GPL-2.0-or-later
/* See kernel/cgroup2.h; cgroups(7), Documentation/admin-guide/cgroup-v2.rst. */
#include "kernel/cgroup2.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { DEEPEST = 32 };

bool cgroup_mount(const char *type, const char *option, char *ret, size_t size)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	bool found = false;

	while (f && !found && (m = getmntent(f)))
		found = !strcmp(m->mnt_type, type) && (!option || hasmntopt(m, option)) &&
			snprintf(ret, size, "%s", m->mnt_dir) < (int)size;
	if (f)
		endmntent(f);
	return found;
}

bool cgroup2_of_task(pid_t pid, struct cgroup2 *ret)
{
	char mount[PATH_MAX / 2], path[PATH_MAX / 2];
	auto_free char *text = NULL;
	struct cursor rest;
	struct stat st;
	size_t len;

	if (io_slurpf(&text, NULL, "/proc/%d/cgroup", pid) < 0 || !parse_field(text, "0::", &rest) ||
		!cgroup_mount("cgroup2", NULL, mount, sizeof(mount)))
		return false;
	len = (size_t)(rest.end - rest.at);
	/* "/": the root; "/..": outside of our own cgroup namespace */
	if (len < 2 || len >= sizeof(path) || !strncmp(rest.at, "/..", 3))
		return false;
	memcpy(path, rest.at, len);
	path[len] = '\0';
	*ret = (struct cgroup2){ 0 };
	for (const char *p = path; *p; p++)
		ret->level += *p == '/';
	snprintf(ret->folder, sizeof(ret->folder), "%s%s", mount, path);
	if (stat(ret->folder, &st) < 0)
		return false;
	ret->id = st.st_ino;
	return true;
}

/*
 * cgroup.events says so when all tasks stand still, which those in the hand of a tracer may not;
 * cgroup.freeze is what was asked of the group itself.
 */
bool cgroup2_is_frozen(const struct cgroup2 *g)
{
	auto_free char *asked = NULL;
	auto_free char *events = NULL;
	uint64_t frozen = 0;

	if (io_slurpf(&asked, NULL, "%s/cgroup.freeze", g->folder) == 0 && asked[0] == '1')
		return true;
	return io_slurpf(&events, NULL, "%s/cgroup.events", g->folder) == 0 &&
		parse_field_u64(events, "frozen", 10, &frozen) && frozen;
}

static bool folder_holds_only(const char *folder, unsigned depth,
	bool (*is_ours)(pid_t pid, const void *ctx), const void *ctx)
{
	auto_free char *text = NULL;
	auto_dir DIR *dir = opendir(folder);
	struct cursor c, line;
	struct dirent *d;
	uint32_t pid;
	bool only = dir && depth && io_slurpf(&text, NULL, "%s/cgroup.procs", folder) == 0;

	c = cursor_of(only ? text : "");
	while (only && parse_line(&c, &line))
		only = parse_u32(&line, 10, &pid) && is_ours((pid_t)pid, ctx);
	while (only && (d = readdir(dir))) {
		char below[PATH_MAX];

		if (d->d_type != DT_DIR || d->d_name[0] == '.')
			continue;
		only = snprintf(below, sizeof(below), "%s/%s", folder, d->d_name) <
				(int)sizeof(below) &&
			folder_holds_only(below, depth - 1, is_ours, ctx);
	}
	return only;
}

bool cgroup2_holds_only(const struct cgroup2 *g, bool (*is_ours)(pid_t pid, const void *ctx),
	const void *ctx)
{
	return folder_holds_only(g->folder, DEEPEST, is_ours, ctx);
}
