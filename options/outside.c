/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See options/outside.h. */
#include "options/outside.h"
#include "base/parse.h"
#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* Beginnings of what this version can leave outside. */
static const char *const external_kinds[] = { "unix[", "file[", "tty[" };

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static bool begins(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

static bool is_one_of(const char *text, const char *const *kinds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (begins(text, kinds[i]))
			return true;
	return false;
}

bool outside_is_external(const struct options *o, const char *resource)
{
	vec_each(item, &o->external)
		if (!strcmp(*item, resource))
			return true;
	return false;
}

/* "fd[N]:KEY": the key, or NULL when it is not of that form. */
static const char *split_inherited(const char *item, int *ret_fd)
{
	struct cursor c = cursor_of(item);
	uint32_t fd;

	if (!begins(item, "fd["))
		return NULL;
	c = cursor_of(item + 3);
	if (!parse_u32(&c, 10, &fd) || fd > INT_MAX)
		return NULL;
	item = strchr(item, ']');
	if (!item || !begins(item, "]:") || !item[2])
		return NULL;
	*ret_fd = (int)fd;
	return item + 2;
}

/* No colon in front of a bracket: the kernel writes "pipe:[1234]", options have "pipe[1234]". */
static const char *skip_colon(const char *s)
{
	return s[0] == ':' && s[1] == '[' ? s + 1 : s;
}

static bool is_same_key(const char *a, const char *b)
{
	a += *a == '/';
	b += *b == '/';
	for (;; a++, b++) {
		a = skip_colon(a);
		b = skip_colon(b);
		if (*a != *b)
			return false;
		if (!*a)
			return true;
	}
}

int outside_inherited(const struct options *o, const char *key)
{
	vec_each(item, &o->inherit_fd) {
		int fd;
		const char *is = split_inherited(*item, &fd);

		if (is && is_same_key(is, key))
			return fd;
	}
	return -1;
}

bool outside_lists(const struct string_list *list, bool given, uint64_t number)
{
	bool any = false;

	if (!given)
		return false;
	vec_each(item, list) {
		struct cursor c = cursor_of(*item);
		uint64_t n;

		while (parse_u64(&c, 10, &n)) {
			any = true;
			if (n == number)
				return true;
			if (!parse_lit(&c, ","))
				break;
		}
	}
	return !any;
}

int outside_check(const struct options *o, struct err *err)
{
	vec_each(item, &o->external)
		if (!is_one_of(*item, external_kinds, ARRAY_LEN(external_kinds)))
			return err_unsupported(err, "--external %s is not supported by this version of "
				"torpor, which knows unix[INODE], file[MOUNT:INODE] and "
				"tty[RDEV:DEV]", *item);
	vec_each(item, &o->inherit_fd) {
		int fd;

		if (!split_inherited(*item, &fd))
			return err_usage(err, "--inherit-fd %s is not of the form fd[N]:KEY", *item);
		if (fcntl(fd, F_GETFD) < 0)
			return err_usage(err, "--inherit-fd %s: torpor has no descriptor %d", *item, fd);
	}
	return 0;
}
