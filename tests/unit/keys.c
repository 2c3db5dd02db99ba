// SPDX-License-Identifier: GPL-2.0-or-later
/* Encrypted images: keys as text, who can open an envelope, sealed files and what was done to them. */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/kdf.h"
#include "image/key_text.h"
#include "image/keys.h"
#include "image/seal.h"
#include "proto/messages.h"
#include "tests/unit/tap.h"
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

struct bench {
	struct tap tap;
	char dir[64];
	struct arena *arena;
	uint8_t dump_id[IMAGE_DUMP_ID], set_key[KEY_BYTES];
};

/* ---- keys as text ---- */

static void check_text(struct bench *b)
{
	uint8_t key[KEY_BYTES] = { 1, 2, 250 }, back[KEY_BYTES];
	struct err err = ERR_INIT;
	char text[KEY_TEXT];
	bool good;

	good = key_format(KEY_PUBLIC, key, text, &err) == 0 &&
		key_parse(KEY_PUBLIC, text, back, &err) == 1 && !memcmp(key, back, sizeof(key));
	tap_ok(&b->tap, good, "a key as text", &err);
	tap_ok(&b->tap, key_parse(KEY_SECRET, text, back, &err) == 0, "is of one kind", &err);
	for (size_t i = strlen(KEY_PUBLIC); good && text[i]; i++) {
		char old = text[i];

		text[i] = old == 'a' ? 'b' : 'a';
		good = key_parse(KEY_PUBLIC, text, back, NULL) < 0;
		text[i] = old;
	}
	tap_ok(&b->tap, good, "with any digit wrong it is refused", &err);
	text[strlen(text) - 1] = '\0';
	tap_ok(&b->tap, key_parse(KEY_PUBLIC, text, back, NULL) < 0, "and with one missing", &err);
}

/* ---- envelopes ---- */

static char *path(struct bench *b, const char *name)
{
	return arena_printf(b->arena, "%s/%s", b->dir, name);
}

static int pipe_with(const void *bytes, size_t len)
{
	int p[2];

	if (pipe(p) < 0 || write(p[1], bytes, len) != (ssize_t)len)
		abort();
	close(p[1]);
	return p[0];
}

static int text_fd(const char *text)
{
	return pipe_with(text, strlen(text));
}

/* 0, or -errno; whether the right key came out. */
static int opens(struct bench *b, struct key_wishes w, const TorporEnvelopeEntry *e,
	struct err *err)
{
	struct keyring *k = keyring_new(&w);
	uint8_t got[KEY_BYTES] = { 0 };
	int r;

	err_clear(err);
	r = keyring_unwrap(k, b->dump_id, e, got, err);
	keyring_free(k);
	return r == 0 && memcmp(got, b->set_key, sizeof(got)) ? -1 : r;
}

static void check_envelope(struct bench *b)
{
	char *ids[] = { path(b, "anna"), path(b, "bert"), path(b, "carl") };
	const uint8_t raw[KEY_BYTES] = { 9, 8, 7 }, other[KEY_BYTES] = { 9, 8, 6 };
	struct key_wishes none = { .passphrase_fd = -1, .key_fd = -1 }, w = none;
	TorporEnvelopeEntry e = TORPOR_ENVELOPE_ENTRY__INIT;
	struct err err = ERR_INIT;
	auto_file FILE *null = fopen("/dev/null", "w");
	struct keyring *k;
	int r = 0;

	for (int i = 0; i < 3 && r == 0; i++)
		r = key_generate(ids[i], null, &err);
	tap_ok(&b->tap, r == 0, "three pairs of keys", &err);
	tap_ok(&b->tap, key_generate(ids[0], null, NULL) < 0, "an old key is not overwritten", &err);
	w.recipients = ids; /* a secret key's file names its public key, too */
	w.n_recipients = 2;
	w.passphrase_fd = text_fd("correct horse\n");
	w.key_fd = pipe_with(raw, sizeof(raw));
	k = keyring_new(&w);
	r = keyring_wrap(k, b->dump_id, b->set_key, b->arena, &e, &err);
	keyring_free(k);
	tap_ok(&b->tap, r == 0 && e.n_slots == 4, "two recipients, a key and a passphrase", &err);

	w = none;
	w.identities = ids;
	w.n_identities = 1;
	tap_ok(&b->tap, opens(b, w, &e, &err) == 0, "the first recipient opens it", &err);
	w.identities = ids + 1;
	w.n_identities = 2;
	tap_ok(&b->tap, opens(b, w, &e, &err) == 0, "the second of two identities opens it", &err);
	w.identities = ids + 2;
	w.n_identities = 1;
	tap_ok(&b->tap, opens(b, w, &e, &err) == -EKEYREJECTED, "another's identity does not", &err);
	w = none;
	w.passphrase_fd = text_fd("correct horse");
	tap_ok(&b->tap, opens(b, w, &e, &err) == 0, "the passphrase opens it", &err);
	w.passphrase_fd = text_fd("correct horst\n");
	tap_ok(&b->tap, opens(b, w, &e, &err) == -EKEYREJECTED, "another one does not", &err);
	w = none;
	w.key_fd = pipe_with(raw, sizeof(raw));
	tap_ok(&b->tap, opens(b, w, &e, &err) == 0, "the key opens it", &err);
	w.key_fd = pipe_with(other, sizeof(other));
	tap_ok(&b->tap, opens(b, w, &e, &err) == -EKEYREJECTED, "another key does not", &err);
	w.key_fd = pipe_with(raw, 31);
	tap_ok(&b->tap, opens(b, w, &e, &err) < 0 && err.class == ERR_USAGE, "a short key", &err);

	w.key_fd = pipe_with(raw, sizeof(raw));
	b->dump_id[0] ^= 1;
	tap_ok(&b->tap, opens(b, w, &e, &err) == -EKEYREJECTED, "it belongs to its dump", &err);
	b->dump_id[0] ^= 1;
	e.slots[3]->scrypt_log_n = 40;
	w = none;
	w.passphrase_fd = text_fd("correct horse\n");
	tap_ok(&b->tap, opens(b, w, &e, &err) < 0 && err.class == ERR_IMAGE, "absurd work", &err);
	e.slots[2]->wrapped.len--;
	tap_ok(&b->tap, opens(b, none, &e, &err) < 0 && err.class == ERR_IMAGE, "a short slot", &err);
}

/* ---- sealed files ---- */

static int write_sealed(struct bench *b, const struct seal_key *k, size_t len, uint8_t *salt,
	uint8_t *plain, struct err *err)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC), r;
	struct seal_writer *w;

	for (size_t i = 0; i < len; i++)
		plain[i] = (uint8_t)(i * 31 >> 3);
	r = seal_writer_new(k, "a.img", fd, 0, salt, &w, err);
	/* in odd pieces */
	for (size_t at = 0, n; at < len && r == 0; at += n) {
		n = 1 + at * 7 % 50000;
		n = n < len - at ? n : len - at;
		r = seal_write(w, plain + at, n);
	}
	if (r == 0)
		r = seal_finish(w);
	seal_writer_free(w);
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

/* Reads everything; -errno. */
static int read_sealed(const struct seal_key *k, const char *name, int fd, const uint8_t *salt,
	const uint8_t *plain, size_t len)
{
	off_t size = lseek(fd, 0, SEEK_END);
	auto_free uint8_t *back = malloc(len + 1);
	struct seal_reader *s;
	int r = seal_reader_new(k, name, fd, (uint64_t)size, salt, &s, NULL);

	if (r < 0)
		return r;
	if (seal_length(s) != len)
		r = -ERANGE;
	/* backwards, so that pieces are read out of order */
	for (size_t left = len, n; r == 0 && left; left -= n) {
		n = left < 40000 ? left : 40000;
		r = seal_read(s, back + left - n, n, left - n);
	}
	if (r == 0 && !len)
		r = seal_read(s, back, 0, 0);
	seal_reader_free(s);
	return r < 0 ? r : memcmp(back, plain, len) ? -EILSEQ : 0;
}

static bool change_detected(const struct seal_key *k, int fd, const uint8_t *salt,
	const uint8_t *plain, size_t len, off_t at)
{
	uint8_t byte;
	int r;

	if (pread(fd, &byte, 1, at) != 1)
		return false;
	byte ^= 0x10;
	if (pwrite(fd, &byte, 1, at) != 1)
		return false;
	r = read_sealed(k, "a.img", fd, salt, plain, len);
	byte ^= 0x10;
	return pwrite(fd, &byte, 1, at) == 1 && r < 0 && r != -EILSEQ;
}

static void check_length(struct bench *b, const struct seal_key *k, size_t len, uint8_t *plain)
{
	uint8_t salt[SEAL_SALT], other[SEAL_SALT] = { 0 };
	struct err err = ERR_INIT;
	auto_close int fd = write_sealed(b, k, len, salt, plain, &err);
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	bool good = true;
	char what[100];

	snprintf(what, sizeof(what), "a sealed file of %zu bytes", len);
	tap_ok(&b->tap, fd >= 0 && read_sealed(k, "a.img", fd, salt, plain, len) == 0, what, &err);
	for (off_t at = 0; at < size; at += at < 200 ? 1 : size / 50 + 1)
		good = good && change_detected(k, fd, salt, plain, len, at);
	good = good && change_detected(k, fd, salt, plain, len, size - 1);
	tap_ok(&b->tap, good, "any byte changed", &err);
	tap_ok(&b->tap, read_sealed(k, "b.img", fd, salt, plain, len) == -EBADMSG,
		"under another name", &err);
	tap_ok(&b->tap, read_sealed(k, "a.img", fd, other, plain, len) < 0, "not this writing", &err);
	good = ftruncate(fd, size - 1) == 0 && read_sealed(k, "a.img", fd, salt, plain, len) < 0;
	tap_ok(&b->tap, good, "cut by a byte", &err);
}

/* Whole pieces cut off or swapped: every piece by itself is authentic. */
static void check_pieces(struct bench *b, const struct seal_key *k, uint8_t *plain)
{
	enum { WHOLE = SEAL_PIECE + AEAD_TAG };
	static uint8_t one[WHOLE], two[WHOLE];
	uint8_t salt[SEAL_SALT];
	struct err err = ERR_INIT;
	auto_close int fd = write_sealed(b, k, 3 * SEAL_PIECE, salt, plain, &err);
	off_t size = lseek(fd, 0, SEEK_END);
	bool good;

	good = pread(fd, one, WHOLE, SEAL_HEADER) == WHOLE &&
		pread(fd, two, WHOLE, SEAL_HEADER + WHOLE) == WHOLE &&
		pwrite(fd, two, WHOLE, SEAL_HEADER) == WHOLE &&
		pwrite(fd, one, WHOLE, SEAL_HEADER + WHOLE) == WHOLE;
	tap_ok(&b->tap, good && read_sealed(k, "a.img", fd, salt, plain, 3 * SEAL_PIECE) == -EBADMSG,
		"pieces swapped", &err);
	good = pwrite(fd, one, WHOLE, SEAL_HEADER) == WHOLE &&
		pwrite(fd, two, WHOLE, SEAL_HEADER + WHOLE) == WHOLE &&
		read_sealed(k, "a.img", fd, salt, plain, 3 * SEAL_PIECE) == 0;
	tap_ok(&b->tap, good, "and put back", &err);
	good = ftruncate(fd, size - WHOLE) == 0 &&
		read_sealed(k, "a.img", fd, salt, plain, 2 * SEAL_PIECE) == -EBADMSG;
	tap_ok(&b->tap, good, "the last piece cut off", &err);
}

static void check_sealed(struct bench *b)
{
	static const size_t lengths[] = { 0, 1, 100, SEAL_PIECE - 1, SEAL_PIECE, SEAL_PIECE + 1,
		2 * SEAL_PIECE + 77 };
	auto_free uint8_t *plain = malloc(4 * SEAL_PIECE);

	for (int cipher = AEAD_AES_256_GCM; cipher <= AEAD_CHACHA20_POLY1305; cipher++) {
		struct seal_key k = { .cipher = (enum aead_kind)cipher, .key = b->set_key };

		for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
			check_length(b, &k, lengths[i], plain);
		check_pieces(b, &k, plain);
	}
}

int main(void)
{
	struct bench b = { .dir = "/tmp/torpor-unit-XXXXXX", .arena = arena_new() };
	struct err err = ERR_INIT;
	char command[100];

	tap_ok(&b.tap, mkdtemp(b.dir) && random_bytes(b.dump_id, sizeof(b.dump_id), &err) == 0 &&
		random_bytes(b.set_key, sizeof(b.set_key), &err) == 0, "beginning", &err);
	check_text(&b);
	check_envelope(&b);
	check_sealed(&b);
	snprintf(command, sizeof(command), "rm -rf %s", b.dir);
	tap_ok(&b.tap, system(command) == 0, "end", NULL);
	arena_free(b.arena);
	return tap_done(&b.tap);
}
