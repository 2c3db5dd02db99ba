/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encrypted image files (docs/FORMAT-filters.md, "Encrypted sets"). A sealed file has a header, then
 * its content in pieces of SEAL_PIECE bytes, each followed by its tag; the last piece may be shorter
 * and says that it is the last. Each file has a key of its own, made of the set's key, the file's
 * name and the salt in its header: pieces cannot be moved between files, places or sets.
 */
#pragma once
#include "base/aead.h"
#include "image/image.h"

enum {
	SEAL_PIECE = 64 * 1024,
	SEAL_SALT = 32,
	SEAL_HEADER = 64,
};

/* How the files of a set are encrypted. */
struct seal_key {
	enum aead_kind cipher;
	uint8_t *key; /* locked memory */
	uint8_t dump_id[IMAGE_DUMP_ID];
};

/* ---- writing ---- */
struct seal_writer;

/*
 * Writes the header to fd, which is borrowed, and everything else later, with io_write_patient(); salt
 * gets what identifies this writing of the file.
 */
int seal_writer_new(const struct seal_key *k, const char *name, int fd, unsigned patience_s,
	uint8_t *ret_salt, struct seal_writer **ret, struct err *err) must_use;
/* 0 or -errno. */
int seal_write(struct seal_writer *w, const void *bytes, size_t len) must_use;
/* Writes the last piece. */
int seal_finish(struct seal_writer *w) must_use;
uint64_t seal_size(const struct seal_writer *w); /* bytes of the file so far */
void seal_writer_free(struct seal_writer *w); /* NULL is fine */

/* ---- reading ---- */
struct seal_reader;

/* The file must be `size` bytes long and begin with this salt. fd is borrowed. */
int seal_reader_new(const struct seal_key *k, const char *name, int fd, uint64_t size,
	const uint8_t *salt, struct seal_reader **ret, struct err *err) must_use;
uint64_t seal_length(const struct seal_reader *r); /* bytes of the content */
/* [at, at + len) of the content; -EBADMSG if it is not what was written, or -errno. */
int seal_read(struct seal_reader *r, void *buf, size_t len, uint64_t at) must_use;
void seal_reader_free(struct seal_reader *r); /* NULL is fine */

/* ---- one message ---- */
/* A short content with a key of its own for this purpose. out gets len + AEAD_TAG bytes. */
int seal_bytes(const struct seal_key *k, const char *purpose, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out, struct err *err) must_use;
/* The reverse; -EBADMSG without a sentence if it is not authentic. */
int unseal_bytes(const struct seal_key *k, const char *purpose, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out, struct err *err) must_use;
