// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See names/silent.h. Who resolves a name on a mount that hangs, hangs; so names are resolved here
 * part by part, and before each step is compared where it leads.
 */
#include "names/silent.h"
#include "names/answer.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINKS_MAX = 40 }; /* as many as the kernel follows (path_resolution(7)) */

/* ---- who is silent ---- */

static void ask_mount(struct asking *a, const void *ctx)
{
	const struct mount_line *m = ctx;

	answer_ask(a, m->point, 0);
}

int silent_find(struct arena *a, unsigned timeout_s, struct silent *ret, struct err *err)
{
	struct mount_lines mounts;
	const void **doubtful;
	size_t n = 0;
	bool *is;
	int r = mountinfo_read("self", a, &mounts, err);

	*ret = (struct silent){ 0 };
	if (r < 0 || !answer_is_doubtful(&mounts))
		return r;
	doubtful = arena_array(a, mounts.n, sizeof(*doubtful));
	for (size_t i = 0; i < mounts.n; i++)
		if (answer_is_doubtful(&(struct mount_lines){ &mounts.at[i], 1 }))
			doubtful[n++] = &mounts.at[i];
	is = arena_array(a, n, sizeof(*is));
	r = answer_which(ask_mount, doubtful, n, timeout_s, is, err);
	ret->at = arena_array(a, n, sizeof(*ret->at));
	for (size_t i = 0; r == 0 && i < n; i++)
		if (is[i])
			ret->at[ret->n++] = doubtful[i];
	return r;
}

/* ---- what leads there ---- */

/* The part of a path that was looked at, and what is still to come. */
struct way {
	char done[PATH_MAX]; /* absolute, without a slash at its end: "" is the root */
	char rest[PATH_MAX];
	unsigned links;
};

static const struct mount_line *lies_on(const struct silent *s, const char *path)
{
	for (size_t i = 0; i < s->n; i++)
		if (path_lies_below(path, s->at[i]->point))
			return s->at[i];
	return NULL;
}

static void go_up(struct way *w)
{
	char *slash = strrchr(w->done, '/');

	if (slash)
		*slash = '\0';
}

/* Takes the next part away from the rest; false: there is none, or it is too long for any file. */
static bool next_part(struct way *w, char part[NAME_MAX + 2], bool *ret_last)
{
	const char *p = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(p, "/");

	if (!n || n > NAME_MAX)
		return false;
	memcpy(part, p, n);
	part[n] = '\0';
	p += n;
	*ret_last = !p[strspn(p, "/")];
	memmove(w->rest, p, strlen(p) + 1);
	return true;
}

/* What has been appended is a link: its target comes before the rest. False: too much of it. */
static bool follow(struct way *w, const char *target)
{
	char rest[PATH_MAX];

	if (++w->links > LINKS_MAX || snprintf(rest, sizeof(rest), "%s/%s", target, w->rest) >= PATH_MAX)
		return false;
	memcpy(w->rest, rest, sizeof(rest));
	if (target[0] == '/')
		w->done[0] = '\0';
	else
		go_up(w);
	return true;
}

/* True: there is more to look at. */
static bool step(const struct silent *s, struct way *w, bool follow_last,
	const struct mount_line **ret_found)
{
	char part[NAME_MAX + 2], target[PATH_MAX];
	size_t len = strlen(w->done);
	bool last;
	ssize_t n;

	if (!next_part(w, part, &last))
		return false;
	if (!strcmp(part, "."))
		return true;
	if (!strcmp(part, "..")) {
		go_up(w);
		return true;
	}
	if (len + strlen(part) + 2 > sizeof(w->done))
		return false;
	snprintf(w->done + len, sizeof(w->done) - len, "/%s", part);
	*ret_found = lies_on(s, w->done);
	if (*ret_found || (last && !follow_last))
		return false;
	n = readlink(w->done, target, sizeof(target) - 1);
	if (n < 0)
		return errno == EINVAL;
	target[n] = '\0';
	return follow(w, target);
}

const struct mount_line *silent_meets(const struct silent *s, const char *path, bool last)
{
	const struct mount_line *found = NULL;
	struct way w = { .links = 0 };
	char cwd[PATH_MAX] = "";

	if (!s->n || (path[0] != '/' && !getcwd(cwd, sizeof(cwd))) ||
		snprintf(w.rest, sizeof(w.rest), "%s/%s", cwd, path) >= PATH_MAX)
		return NULL;
	found = lies_on(s, "/");
	while (!found && step(s, &w, last, &found))
		;
	return found;
}

bool silent_is_point(const struct silent *s, const char *point)
{
	for (size_t i = 0; i < s->n; i++)
		if (!strcmp(s->at[i]->point, point))
			return true;
	return false;
}

int silent_refuse(const struct mount_line *m, const char *what, const char *path, struct err *err)
{
	const struct unanswered u = { .dev = m->dev };

	return answer_refuse(&u, &(struct mount_lines){ (struct mount_line *)(uintptr_t)m, 1 }, what, path,
		err);
}
