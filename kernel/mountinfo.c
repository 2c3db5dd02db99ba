/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See kernel/mountinfo.h. A line: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw";
 * blanks, tabs, newlines and backslashes in names are written as \ooo (fs/proc_namespace.c).
 */
#include "kernel/mountinfo.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include <errno.h>
#include <string.h>

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

static char *unescape(struct arena *a, const char *s, size_t len)
{
	char *out = arena_alloc(a, len + 1), *to = out;

	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\\' && i + 3 < len && is_octal(s[i + 1]) && is_octal(s[i + 2]) &&
			is_octal(s[i + 3])) {
			*to++ = (char)((s[i + 1] - '0') << 6 | (s[i + 2] - '0') << 3 | (s[i + 3] - '0'));
			i += 3;
		} else {
			*to++ = s[i];
		}
	}
	*to = '\0';
	return out;
}

static bool parse_name(struct cursor *c, struct arena *a, const char **ret)
{
	const char *w;
	size_t n;

	parse_blanks(c);
	if (!parse_word(c, &w, &n))
		return false;
	*ret = unescape(a, w, n);
	return true;
}

static bool parse_number(struct cursor *c, uint32_t *ret)
{
	parse_blanks(c);
	return parse_u32(c, 10, ret) && *ret <= INT32_MAX;
}

/* Behind optional fields comes a single hyphen. */
static bool skip_to_hyphen(struct cursor *c)
{
	const char *w;
	size_t n;

	do {
		parse_blanks(c);
		if (!parse_word(c, &w, &n))
			return false;
	} while (n != 1 || *w != '-');
	return true;
}

static bool parse_mount(struct cursor *c, struct arena *a, struct mount_line *ret)
{
	uint32_t id, parent, maj, min;

	if (!parse_number(c, &id) || !parse_number(c, &parent) || !parse_number(c, &maj) ||
		!parse_lit(c, ":") || !parse_u32(c, 10, &min) || !parse_name(c, a, &ret->root) ||
		!parse_name(c, a, &ret->point) || !skip_to_hyphen(c) ||
		!parse_name(c, a, &ret->type))
		return false;
	ret->id = (int)id;
	ret->parent = (int)parent;
	ret->dev = maj << 20 | min;
	return true;
}

int mountinfo_parse(const char *text, struct arena *a, struct mount_lines *ret)
{
	struct cursor c = cursor_of(text), line;
	struct mount_lines list = { 0 };

	while (parse_line(&c, &line)) {
		struct mount_line m = { 0 };

		if (!parse_mount(&line, a, &m))
			return -EPROTO;
		arena_push(a, list.at, list.n, m);
	}
	*ret = list;
	return 0;
}

int mountinfo_read(const char *who, struct arena *a, struct mount_lines *ret, struct err *err)
{
	auto_free char *text = NULL;
	int r = io_slurpf(&text, NULL, "/proc/%s/mountinfo", who);

	if (r < 0)
		return err_sysn(err, -r, "cannot read /proc/%s/mountinfo", who);
	r = mountinfo_parse(text, a, ret);
	if (r < 0)
		return err_set(err, ERR_KERNEL, EPROTO, "cannot understand /proc/%s/mountinfo", who);
	return 0;
}
