/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration files: one setting per line, long name without dashes, then blanks (or '=') and
 * the value; '#' begins a comment unless it stands in quotes; a value in double quotes may hold
 * blanks; \" is a quote and every other backslash is itself.
 */
#include "base/arena.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/parse.h"
#include "options/table.h"
#include <errno.h>
#include <string.h>

static bool is_comment_or_end(struct cursor c)
{
	parse_blanks(&c);
	return cursor_done(&c) || *c.at == '#' || *c.at == '\r';
}

/* Behind the opening quote; the text becomes *ret_value. */
static int parse_quoted(struct options *o, struct cursor *c, char **ret_value, struct err *err)
{
	char *value = arena_alloc(o->arena, (size_t)(c->end - c->at) + 1);
	size_t n = 0;

	while (!cursor_done(c)) {
		if (parse_lit(c, "\\\"")) {
			value[n++] = '"';
		} else if (parse_lit(c, "\"")) {
			if (!is_comment_or_end(*c))
				return err_usage(err, "something follows the closing quote");
			*ret_value = value;
			return 0;
		} else {
			value[n++] = *c->at++;
		}
	}
	return err_usage(err, "a quote is not closed");
}

/* A value without quotes ends at a blank or a comment. */
static int parse_plain(struct options *o, struct cursor *c, char **ret_value, struct err *err)
{
	char *value = arena_alloc(o->arena, (size_t)(c->end - c->at) + 1);
	size_t n = 0;

	while (!cursor_done(c) && !memchr(" \t\r#", *c->at, 4)) {
		if (parse_lit(c, "\\\""))
			value[n++] = '"';
		else
			value[n++] = *c->at++;
	}
	if (!is_comment_or_end(*c))
		return err_usage(err, "a value with blanks needs double quotes");
	*ret_value = value;
	return 0;
}

/* *ret_value is NULL where there is none. */
static int parse_value(struct options *o, struct cursor *c, char **ret_value, struct err *err)
{
	*ret_value = NULL;
	parse_blanks(c);
	parse_lit(c, "=");
	if (is_comment_or_end(*c))
		return 0;
	parse_blanks(c);
	return parse_lit(c, "\"") ? parse_quoted(o, c, ret_value, err) :
				    parse_plain(o, c, ret_value, err);
}

static int apply_line(struct options *o, struct cursor line, struct err *err)
{
	const struct option_spec *spec;
	const char *name;
	char *value;
	size_t len;
	bool off;
	int r;

	if (is_comment_or_end(line))
		return 0;
	parse_blanks(&line);
	name = line.at;
	while (!cursor_done(&line) && !memchr(" \t\r=#", *line.at, 5))
		line.at++;
	len = (size_t)(line.at - name);
	if (name[0] == '-')
		return err_usage(err, "'%.*s' must be written without dashes", (int)len, name);
	r = option_find(name, len, true, &spec, &off, err);
	if (r == 0 && spec->traits & TRAIT_TYPED)
		r = err_usage(err, "'%s' belongs on the command line", spec->name);
	if (r == 0)
		r = parse_value(o, &line, &value, err);
	if (r < 0)
		return r;
	return option_apply(o, spec, value, off, spec->name, err);
}

int options_read_file(struct options *o, const char *path, struct err *err)
{
	auto_free char *text = NULL;
	struct cursor c, line;
	size_t len;
	int r;

	r = io_slurp(path, &text, &len);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return err_sysn(err, -r, "cannot read configuration file '%s'", path);
	c = cursor_of_len(text, len);
	for (int n = 1; parse_line(&c, &line); n++) {
		r = apply_line(o, line, err);
		if (r < 0)
			return err_while(err, "reading line %d of '%s'", n, path);
	}
	return 1;
}
