// SPDX-License-Identifier: GPL-2.0-or-later
/* See base/aead.h. What fails to authenticate is wiped before anybody can look at it. */
#include "base/aead.h"
#include "base/secret.h"
#include <openssl/evp.h>
#include <stdlib.h>

struct aead {
	EVP_CIPHER_CTX *encoder, *decoder;
};

static const EVP_CIPHER *cipher_of(enum aead_kind kind)
{
	return kind == AEAD_AES_256_GCM ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
}

struct aead *aead_new(enum aead_kind kind, const uint8_t *key)
{
	struct aead *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->encoder = EVP_CIPHER_CTX_new();
	a->decoder = EVP_CIPHER_CTX_new();
	if (a->encoder && a->decoder &&
		EVP_EncryptInit_ex(a->encoder, cipher_of(kind), NULL, key, NULL) &&
		EVP_DecryptInit_ex(a->decoder, cipher_of(kind), NULL, key, NULL))
		return a;
	aead_free(a);
	return NULL;
}

void aead_free(struct aead *a)
{
	if (!a)
		return;
	EVP_CIPHER_CTX_free(a->encoder);
	EVP_CIPHER_CTX_free(a->decoder);
	free(a);
}

int aead_seal(struct aead *a, const uint8_t *nonce, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = a->encoder;
	int n, end;

	if (len > INT32_MAX || aad_len > INT32_MAX)
		return -EINVAL;
	if (!EVP_EncryptInit_ex(c, NULL, NULL, NULL, nonce) ||
		!EVP_EncryptUpdate(c, NULL, &n, aad, (int)aad_len) ||
		!EVP_EncryptUpdate(c, out, &n, in, (int)len) ||
		!EVP_EncryptFinal_ex(c, out + n, &end) || (size_t)n + (size_t)end != len ||
		!EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, out + len))
		return -EIO;
	return 0;
}

int aead_open(struct aead *a, const uint8_t *nonce, const void *aad, size_t aad_len,
	const uint8_t *in, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = a->decoder;
	uint8_t tag[AEAD_TAG];
	int n = 0, end = 0;

	if (len < AEAD_TAG || len > INT32_MAX || aad_len > INT32_MAX)
		return -EBADMSG;
	len -= AEAD_TAG;
	for (size_t i = 0; i < sizeof(tag); i++)
		tag[i] = in[len + i];
	if (EVP_DecryptInit_ex(c, NULL, NULL, NULL, nonce) &&
		EVP_DecryptUpdate(c, NULL, &n, aad, (int)aad_len) &&
		EVP_DecryptUpdate(c, out, &n, in, (int)len) &&
		EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, tag) &&
		EVP_DecryptFinal_ex(c, out + n, &end) && (size_t)n + (size_t)end == len)
		return 0;
	secret_wipe(out, len);
	return -EBADMSG;
}
