// SPDX-License-Identifier: GPL-2.0-or-later
/* See image/seal.h. The nonce of a piece is its number, and 1 behind it if it is the last. */
#include "image/seal.h"
#include "base/io.h"
#include "base/kdf.h"
#include <stdio.h>
#include <string.h>

#define MAGIC_SEALED 0x54525345u
#define VERSION_SEALED 1u

struct header {
	uint32_t magic, version, cipher, piece;
	uint8_t dump_id[IMAGE_DUMP_ID];
	uint8_t salt[SEAL_SALT];
};

_Static_assert(sizeof(struct header) == SEAL_HEADER, "no gaps");

/* What both directions have. */
struct seal {
	struct header header;
	struct aead *aead;
	int fd;
};

struct seal_writer {
	struct seal s;
	unsigned patience_s; /* io_write_patient() */
	uint64_t pieces, size;
	size_t used;
	uint8_t plain[SEAL_PIECE], sealed[SEAL_PIECE + AEAD_TAG];
};

struct seal_reader {
	struct seal s;
	uint64_t length, pieces, current; /* current: the piece in `plain`, UINT64_MAX: none */
	uint8_t plain[SEAL_PIECE], sealed[SEAL_PIECE + AEAD_TAG];
};

static int derive(const struct seal_key *k, const char *kind, const char *name, const void *salt,
	size_t salt_len, struct aead **ret, struct err *err)
{
	uint8_t key[KEY_BYTES];
	char info[128];
	int r;

	snprintf(info, sizeof(info), "torpor %s %s", kind, name);
	r = kdf_expand(k->key, KEY_BYTES, salt, salt_len, info, key, err);
	if (r == 0) {
		*ret = aead_new(k->cipher, key);
		r = *ret ? 0 : err_nomem(err);
	}
	secret_wipe(key, sizeof(key));
	return r;
}

static void make_nonce(uint64_t piece, bool last, uint8_t *nonce)
{
	for (size_t i = 0; i < AEAD_NONCE; i++)
		nonce[i] = i < 8 ? (uint8_t)(piece >> 8 * i) : 0;
	nonce[8] = last;
}

/* ---- writing ---- */

int seal_writer_new(const struct seal_key *k, const char *name, int fd, unsigned patience_s,
	uint8_t *ret_salt, struct seal_writer **ret, struct err *err)
{
	struct seal_writer *w = calloc(1, sizeof(*w));
	struct header *h;
	int r;

	if (!w)
		return err_nomem(err);
	h = &w->s.header;
	*h = (struct header){ .magic = MAGIC_SEALED, .version = VERSION_SEALED,
		.cipher = k->cipher + 1, .piece = SEAL_PIECE };
	memcpy(h->dump_id, k->dump_id, sizeof(h->dump_id));
	w->s.fd = fd;
	w->patience_s = patience_s;
	r = random_bytes(h->salt, sizeof(h->salt), err);
	if (r == 0)
		r = derive(k, "image", name, h->salt, sizeof(h->salt), &w->s.aead, err);
	if (r == 0) {
		r = io_write_patient(fd, h, sizeof(*h), patience_s);
		if (r < 0)
			err_sysn(err, -r, "cannot write image '%s'", name);
	}
	if (r < 0) {
		seal_writer_free(w);
		return r;
	}
	memcpy(ret_salt, h->salt, sizeof(h->salt));
	*ret = w;
	return 0;
}

static int put_piece(struct seal_writer *w, bool last)
{
	uint8_t nonce[AEAD_NONCE];
	int r;

	make_nonce(w->pieces++, last, nonce);
	r = aead_seal(w->s.aead, nonce, &w->s.header, sizeof(w->s.header), w->plain, w->used,
		w->sealed);
	if (r == 0)
		r = io_write_patient(w->s.fd, w->sealed, w->used + AEAD_TAG, w->patience_s);
	w->size += w->used + AEAD_TAG;
	w->used = 0;
	return r;
}

/* A full piece waits for more: it could be the last. */
int seal_write(struct seal_writer *w, const void *bytes, size_t len)
{
	const uint8_t *from = bytes;

	while (len) {
		size_t n = SEAL_PIECE - w->used;

		if (!n) {
			int r = put_piece(w, false);

			if (r < 0)
				return r;
			continue;
		}
		n = n < len ? n : len;
		memcpy(w->plain + w->used, from, n);
		w->used += n;
		from += n;
		len -= n;
	}
	return 0;
}

int seal_finish(struct seal_writer *w)
{
	return put_piece(w, true);
}

uint64_t seal_size(const struct seal_writer *w)
{
	return sizeof(w->s.header) + w->size;
}

void seal_writer_free(struct seal_writer *w)
{
	if (!w)
		return;
	aead_free(w->s.aead);
	secret_wipe(w->plain, sizeof(w->plain));
	free(w);
}

/* ---- reading ---- */

static int check_header(const struct seal_key *k, const char *name, const uint8_t *salt,
	const struct header *h, struct err *err)
{
	if (h->magic != MAGIC_SEALED || h->version != VERSION_SEALED ||
		h->cipher != k->cipher + 1u || h->piece != SEAL_PIECE ||
		memcmp(h->dump_id, k->dump_id, sizeof(h->dump_id)) ||
		memcmp(h->salt, salt, sizeof(h->salt)))
		return err_image(err, "image '%s' is not the one that was written: it belongs to "
			"another dump or was changed", name);
	return 0;
}

int seal_reader_new(const struct seal_key *k, const char *name, int fd, uint64_t size,
	const uint8_t *salt, struct seal_reader **ret, struct err *err)
{
	struct seal_reader *r;
	uint64_t body, rest;
	int e;

	if (size < SEAL_HEADER + AEAD_TAG)
		return err_image(err, "image '%s' is too short: %lu bytes", name, size);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_nomem(err);
	body = size - SEAL_HEADER;
	r->pieces = (body + SEAL_PIECE + AEAD_TAG - 1) / (SEAL_PIECE + AEAD_TAG);
	rest = body - (r->pieces - 1) * (SEAL_PIECE + AEAD_TAG);
	r->length = rest < AEAD_TAG ? 0 : body - r->pieces * AEAD_TAG;
	r->current = UINT64_MAX;
	r->s.fd = fd;
	e = io_pread_all(fd, &r->s.header, sizeof(r->s.header), 0);
	if (e < 0)
		err_sysn(err, -e, "cannot read image '%s'", name);
	else if (rest < AEAD_TAG)
		e = err_image(err, "image '%s' was cut: %lu bytes", name, size);
	else
		e = check_header(k, name, salt, &r->s.header, err);
	if (e == 0)
		e = derive(k, "image", name, salt, SEAL_SALT, &r->s.aead, err);
	if (e < 0)
		seal_reader_free(r);
	else
		*ret = r;
	return e;
}

uint64_t seal_length(const struct seal_reader *r)
{
	return r->length;
}

static size_t piece_length(const struct seal_reader *r, uint64_t piece)
{
	return piece < r->pieces - 1 ? SEAL_PIECE : (size_t)(r->length - piece * SEAL_PIECE);
}

static int get_piece(struct seal_reader *r, uint64_t piece)
{
	size_t len = piece_length(r, piece) + AEAD_TAG;
	uint8_t nonce[AEAD_NONCE];
	int e;

	if (r->current == piece)
		return 0;
	r->current = UINT64_MAX;
	e = io_pread_all(r->s.fd, r->sealed, len,
		(off_t)(SEAL_HEADER + piece * (SEAL_PIECE + AEAD_TAG)));
	if (e < 0)
		return e;
	make_nonce(piece, piece == r->pieces - 1, nonce);
	e = aead_open(r->s.aead, nonce, &r->s.header, sizeof(r->s.header), r->sealed, len, r->plain);
	if (e == 0)
		r->current = piece;
	return e;
}

int seal_read(struct seal_reader *r, void *buf, size_t len, uint64_t at)
{
	uint8_t *to = buf;

	if (at > r->length || len > r->length - at)
		return -EIO;
	/* an empty file has a piece, too, which says that it is meant to be empty */
	if (!r->length)
		return get_piece(r, 0);
	while (len) {
		size_t skip = at % SEAL_PIECE, n;
		int e = get_piece(r, at / SEAL_PIECE);

		if (e < 0)
			return e;
		n = piece_length(r, at / SEAL_PIECE) - skip;
		n = n < len ? n : len;
		memcpy(to, r->plain + skip, n);
		to += n;
		at += n;
		len -= n;
	}
	return 0;
}

void seal_reader_free(struct seal_reader *r)
{
	if (!r)
		return;
	aead_free(r->s.aead);
	secret_wipe(r->plain, sizeof(r->plain));
	free(r);
}

/* ---- one message ---- */

int seal_bytes(const struct seal_key *k, const char *purpose, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out, struct err *err)
{
	uint8_t nonce[AEAD_NONCE];
	struct aead *a = NULL;
	int r = derive(k, "message", purpose, k->dump_id, sizeof(k->dump_id), &a, err);

	make_nonce(0, true, nonce);
	if (r == 0) {
		r = aead_seal(a, nonce, aad, aad_len, in, len, out);
		if (r < 0)
			err_sysn(err, -r, "cannot encrypt");
	}
	aead_free(a);
	return r;
}

int unseal_bytes(const struct seal_key *k, const char *purpose, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out, struct err *err)
{
	uint8_t nonce[AEAD_NONCE];
	struct aead *a = NULL;
	int r = derive(k, "message", purpose, k->dump_id, sizeof(k->dump_id), &a, err);

	make_nonce(0, true, nonce);
	if (r == 0)
		r = aead_open(a, nonce, aad, aad_len, in, len, out);
	aead_free(a);
	return r;
}
