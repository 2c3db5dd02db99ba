/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Foreign strings in output. Names in a kernel are bytes, JSON is UTF-8: bytes that are part of a valid UTF-8
 * sequence stay, every other byte from 0x80 on becomes \u00XX, so the output always parses.
 */
#include "base/text.h"
#include <stddef.h>

/* Length of the valid multi-byte sequence at s, or 0. */
static size_t utf8_length(const unsigned char *s)
{
	size_t n;

	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* longer than need be, surrogates, beyond the last code point */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

void json_string(FILE *out, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	fputc('"', out);
	while (*s) {
		size_t n = utf8_length(s);

		if (n) {
			fwrite(s, 1, n, out);
			s += n;
			continue;
		}
		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if (*s < 0x20 || *s >= 0x7f)
			fprintf(out, "\\u%04x", *s);
		else
			fputc(*s, out);
		s++;
	}
	fputc('"', out);
}

void plain_string(FILE *out, const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			fprintf(out, "\\x%02x", (unsigned char)*s);
		else
			fputc(*s, out);
}
