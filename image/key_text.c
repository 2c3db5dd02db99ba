// SPDX-License-Identifier: GPL-2.0-or-later
/* See image/key_text.h; also the making of a pair. */
#include "image/key_text.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/kdf.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { SUM = 4, FILE_MAX = 16 * 1024 };

static int check_sum(const char *prefix, const uint8_t *key, uint8_t *sum, struct err *err)
{
	uint8_t long_sum[KEY_BYTES];
	int r = kdf_expand(key, KEY_BYTES, prefix, strlen(prefix), "check sum", long_sum, err);

	memcpy(sum, long_sum, SUM);
	return r;
}

static char *put_hex(char *to, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*to++ = digits[bytes[i] >> 4];
		*to++ = digits[bytes[i] & 15];
	}
	*to = '\0';
	return to;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_hex(const char *text, uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int high = digit(text[2 * i]), low = high < 0 ? -1 : digit(text[2 * i + 1]);

		if (low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

int key_format(const char *prefix, const uint8_t *key, char *buf, struct err *err)
{
	uint8_t sum[SUM];
	int r = check_sum(prefix, key, sum, err);

	put_hex(put_hex(stpcpy(buf, prefix), key, KEY_BYTES), sum, SUM);
	return r;
}

int key_parse(const char *prefix, const char *text, uint8_t *ret, struct err *err)
{
	uint8_t sum[SUM], wanted[SUM];
	size_t n = strlen(prefix);
	int r;

	if (strncmp(text, prefix, n) != 0)
		return 0;
	text += n;
	n = strspn(text, "0123456789abcdefABCDEF");
	if (n != 2 * (KEY_BYTES + SUM) || !get_hex(text, ret, KEY_BYTES) ||
		!get_hex(text + 2 * KEY_BYTES, sum, SUM))
		return err_usage(err, "a key has %zu hex digits instead of %d", n,
			2 * (KEY_BYTES + SUM));
	r = check_sum(prefix, ret, wanted, err);
	if (r == 0 && memcmp(sum, wanted, SUM))
		r = err_usage(err, "a key is not what it was: its check sum differs");
	return r < 0 ? r : 1;
}

static int find_key(const char *prefix, const char *path, char *text, uint8_t *ret, struct err *err)
{
	char *rest = text;

	for (char *line; (line = strsep(&rest, "\n"));) {
		int r = key_parse(prefix, line + strspn(line, "# \t"), ret, err);

		if (r < 0)
			return err_while(err, "reading '%s'", path);
		if (r > 0)
			return 0;
	}
	return err_usage(err, "'%s' has no line '%s...'", path, prefix);
}

/* The text may be secret: it is read into locked memory. */
int key_read_file(const char *prefix, const char *path, uint8_t *ret, struct err *err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	uint8_t *text;
	ssize_t n;
	int r;

	if (fd < 0)
		return err_sys(err, "cannot open the key file '%s'", path);
	r = secret_new(&text, err);
	if (r < 0)
		return r;
	n = read(fd, text, SECRET_MAX - 1);
	if (n < 0)
		r = err_sys(err, "cannot read the key file '%s'", path);
	else
		r = find_key(prefix, path, (char *)text, ret, err);
	secret_free(text);
	return r;
}

/* ---- a new pair ---- */

static int write_pair(int fd, const uint8_t *secret, char *public_text, char *text,
	struct err *err)
{
	uint8_t public[KEY_BYTES];
	int r = x25519_public(secret, public, err), n;

	if (r == 0)
		r = key_format(KEY_PUBLIC, public, public_text, err);
	if (r == 0)
		r = key_format(KEY_SECRET, secret, text + 512, err);
	if (r < 0)
		return r;
	n = snprintf(text, 512, "# Who has this file can read what was encrypted for\n# %s\n",
		public_text);
	memmove(text + n, text + 512, KEY_TEXT);
	strcat(text, "\n");
	r = io_write_all(fd, text, strlen(text));
	return r < 0 || fsync(fd) < 0 ? err_sys(err, "cannot write the key file") : 0;
}

int key_generate(const char *path, FILE *out, struct err *err)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char public_text[KEY_TEXT];
	uint8_t *secret;
	int r;

	if (fd < 0)
		return err_sys(err, "cannot create the key file '%s'", path);
	r = secret_new(&secret, err);
	if (r == 0) {
		r = random_bytes(secret, KEY_BYTES, err);
		if (r == 0)
			r = write_pair(fd, secret, public_text, (char *)secret + 1024, err);
		secret_free(secret);
	}
	if (r < 0)
		unlink(path);
	else
		fprintf(out, "%s\n", public_text);
	return r;
}
