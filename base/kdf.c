// SPDX-License-Identifier: GPL-2.0-or-later
/* See base/kdf.h; everything is done by OpenSSL's libcrypto. */
#include "base/kdf.h"
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <string.h>
#include <sys/random.h>

/* What images may ask for. */
enum { LOG_N_MOST = 20, R_MOST = 32, P_MOST = 64 };
#define SCRYPT_MEMORY (256ull << 20)

int random_bytes(void *buf, size_t len, struct err *err)
{
	uint8_t *at = buf;

	while (len) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, "cannot get random bytes");
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int derive(const char *name, const OSSL_PARAM *params, uint8_t *key, struct err *err)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, name, NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool good = ctx && EVP_KDF_derive(ctx, key, KEY_BYTES, params) > 0;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return good ? 0 : err_set(err, ERR_RESOURCE, EIO, "the crypto library cannot compute %s",
				  name);
}

int kdf_expand(const void *secret, size_t secret_len, const void *salt, size_t salt_len,
	const char *info, uint8_t *key, struct err *err)
{
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret,
			secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt,
			salt_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info,
			strlen(info)),
		OSSL_PARAM_construct_end(),
	};

	return derive("HKDF", params, key, err);
}

int kdf_scrypt(const char *pass, size_t pass_len, const uint8_t *salt, unsigned log_n, unsigned r,
	unsigned p, uint8_t *key, struct err *err)
{
	uint64_t n = log_n < 64 ? 1ull << log_n : 0, most = SCRYPT_MEMORY + (64ull << 20);
	uint32_t r32 = r, p32 = p;
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, (void *)(uintptr_t)pass,
			pass_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt,
			SCRYPT_SALT),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
		OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r32),
		OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p32),
		OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &most),
		OSSL_PARAM_construct_end(),
	};

	if (!log_n || log_n > LOG_N_MOST || !r || r > R_MOST || !p || p > P_MOST ||
		128 * n * r > SCRYPT_MEMORY)
		return err_image(err, "the passphrase is protected by absurd parameters (%u, %u, %u)",
			log_n, r, p);
	return derive("SCRYPT", params, key, err);
}

static int x25519_failed(struct err *err)
{
	return err_set(err, ERR_IMAGE, EBADMSG, "an X25519 key is not valid");
}

int x25519_public(const uint8_t *secret, uint8_t *ret_public, struct err *err)
{
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, KEY_BYTES);
	size_t len = KEY_BYTES;
	bool good = key && EVP_PKEY_get_raw_public_key(key, ret_public, &len) > 0;

	EVP_PKEY_free(key);
	return good ? 0 : x25519_failed(err);
}

int x25519_shared(const uint8_t *secret, const uint8_t *public, uint8_t *ret_shared,
	struct err *err)
{
	EVP_PKEY *mine = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, KEY_BYTES);
	EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public, KEY_BYTES);
	EVP_PKEY_CTX *ctx = mine ? EVP_PKEY_CTX_new(mine, NULL) : NULL;
	size_t len = KEY_BYTES;
	bool good = ctx && theirs && EVP_PKEY_derive_init(ctx) > 0 &&
		EVP_PKEY_derive_set_peer(ctx, theirs) > 0 &&
		EVP_PKEY_derive(ctx, ret_shared, &len) > 0 && len == KEY_BYTES;

	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(theirs);
	EVP_PKEY_free(mine);
	return good ? 0 : x25519_failed(err);
}
