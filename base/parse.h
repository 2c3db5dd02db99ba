/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading foreign text (/proc files above all) without ever leaving its bounds. A cursor walks a
 * text; every function returns true and moves on, or returns false and leaves the cursor alone.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
	const char *at, *end;
};

struct cursor cursor_of(const char *text);
struct cursor cursor_of_len(const char *text, size_t len);
static inline bool cursor_done(const struct cursor *c)
{
	return c->at >= c->end;
}
/* The literal must come next. */
bool parse_lit(struct cursor *c, const char *literal);
/* Any blanks (space, tab); at least none. */
void parse_blanks(struct cursor *c);
/* Digits of base 8, 10 or 16 (no sign, no 0x); false without digits or on overflow. */
bool parse_u64(struct cursor *c, int base, uint64_t *ret);
bool parse_u32(struct cursor *c, int base, uint32_t *ret);
/* Optional minus, then decimal digits. */
bool parse_i64(struct cursor *c, int64_t *ret);
/* Up to the next blank or end of line; at least one byte. Not terminated. */
bool parse_word(struct cursor *c, const char **ret, size_t *ret_len);
/* One line as a cursor of its own, without its newline; false at the end of the text. */
bool parse_line(struct cursor *c, struct cursor *ret_line);
/* The rest of the line which starts with key ("SigCgt:"), blanks skipped; false if there is none. */
bool parse_field(const char *text, const char *key, struct cursor *ret_rest);
/* Shorthands: the number behind a key. */
bool parse_field_u64(const char *text, const char *key, int base, uint64_t *ret);
