/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys from other secrets: HKDF-SHA256 (RFC 5869), scrypt (RFC 7914), X25519 (RFC 7748). */
#pragma once
#include "base/secret.h"

enum {
	SCRYPT_SALT = 16,
	/* 32 MiB and about 0.3 s: OWASP's figures for that size of memory */
	SCRYPT_LOG_N = 15,
	SCRYPT_R = 8,
	SCRYPT_P = 3,
};

int random_bytes(void *buf, size_t len, struct err *err) must_use;
/* KEY_BYTES from a secret of any length; info tells what the key is for. */
int kdf_expand(const void *secret, size_t secret_len, const void *salt, size_t salt_len,
	const char *info, uint8_t *key, struct err *err) must_use;
/* KEY_BYTES from a passphrase; an image error if the work would be absurd (hostile images). */
int kdf_scrypt(const char *pass, size_t pass_len, const uint8_t *salt, unsigned log_n, unsigned r,
	unsigned p, uint8_t *key, struct err *err) must_use;

/* ---- X25519: all keys have KEY_BYTES ---- */
int x25519_public(const uint8_t *secret, uint8_t *ret_public, struct err *err) must_use;
/* Fails for public keys that would give an all-zero result. */
int x25519_shared(const uint8_t *secret, const uint8_t *public, uint8_t *ret_shared,
	struct err *err) must_use;
