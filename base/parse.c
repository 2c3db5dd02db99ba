// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/parse.h"
#include <string.h>

struct cursor cursor_of_len(const char *text, size_t len)
{
	return (struct cursor){ text, text + len };
}

struct cursor cursor_of(const char *text)
{
	return cursor_of_len(text, strlen(text));
}

bool parse_lit(struct cursor *c, const char *literal)
{
	size_t n = strlen(literal);

	if ((size_t)(c->end - c->at) < n || memcmp(c->at, literal, n))
		return false;
	c->at += n;
	return true;
}

void parse_blanks(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t'))
		c->at++;
}

static int digit_of(char ch)
{
	if (ch >= '0' && ch <= '9')
		return ch - '0';
	if (ch >= 'a' && ch <= 'f')
		return ch - 'a' + 10;
	if (ch >= 'A' && ch <= 'F')
		return ch - 'A' + 10;
	return 99;
}

bool parse_u64(struct cursor *c, int base, uint64_t *ret)
{
	const char *p = c->at;
	uint64_t v = 0;

	for (; p < c->end && digit_of(*p) < base; p++)
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) ||
			__builtin_add_overflow(v, (uint64_t)digit_of(*p), &v))
			return false;
	if (p == c->at)
		return false;
	c->at = p;
	*ret = v;
	return true;
}

bool parse_u32(struct cursor *c, int base, uint32_t *ret)
{
	struct cursor save = *c;
	uint64_t v;

	if (!parse_u64(c, base, &v))
		return false;
	if (v > UINT32_MAX) {
		*c = save;
		return false;
	}
	*ret = (uint32_t)v;
	return true;
}

bool parse_i64(struct cursor *c, int64_t *ret)
{
	struct cursor save = *c;
	bool minus = parse_lit(c, "-");
	uint64_t v;

	if (!parse_u64(c, 10, &v) || v > (uint64_t)INT64_MAX + minus) {
		*c = save;
		return false;
	}
	*ret = minus ? (int64_t)-v : (int64_t)v;
	return true;
}

bool parse_word(struct cursor *c, const char **ret, size_t *ret_len)
{
	const char *p = c->at;

	while (p < c->end && *p != ' ' && *p != '\t' && *p != '\n')
		p++;
	if (p == c->at)
		return false;
	*ret = c->at;
	*ret_len = (size_t)(p - c->at);
	c->at = p;
	return true;
}

bool parse_line(struct cursor *c, struct cursor *ret_line)
{
	const char *nl;

	if (cursor_done(c))
		return false;
	nl = memchr(c->at, '\n', (size_t)(c->end - c->at));
	ret_line->at = c->at;
	ret_line->end = nl ? nl : c->end;
	c->at = nl ? nl + 1 : c->end;
	return true;
}

bool parse_field(const char *text, const char *key, struct cursor *ret_rest)
{
	struct cursor c = cursor_of(text), line;

	while (parse_line(&c, &line)) {
		if (parse_lit(&line, key)) {
			parse_blanks(&line);
			*ret_rest = line;
			return true;
		}
	}
	return false;
}

bool parse_field_u64(const char *text, const char *key, int base, uint64_t *ret)
{
	struct cursor rest;

	return parse_field(text, key, &rest) && parse_u64(&rest, base, ret);
}
