/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Authenticated encryption (RFC 5116) by OpenSSL's libcrypto, which picks the hardware's way. */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum aead_kind { AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305 };
enum { AEAD_KEY = 32, AEAD_NONCE = 12, AEAD_TAG = 16 };

/* One key, used by one thread at a time. NULL: no memory, or the library forbids the cipher. */
struct aead;

struct aead *aead_new(enum aead_kind kind, const uint8_t *key);
void aead_free(struct aead *a); /* wipes; NULL is fine */
/* A nonce must never be used twice with a key. Writes len + AEAD_TAG bytes. 0 or -errno. */
int aead_seal(struct aead *a, const uint8_t *nonce, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out) must_use;
/* The reverse: len counts the tag, writes len - AEAD_TAG bytes. -EBADMSG: not what was sealed. */
int aead_open(struct aead *a, const uint8_t *nonce, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out) must_use;
