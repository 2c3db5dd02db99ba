// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * aes-gcm and chacha20-poly1305: authenticated encryption, AES-256-GCM (NIST SP 800-38D) and
 * ChaCha20-Poly1305 (RFC 8439). Format: the ciphertext, then the tag of 16 bytes. Nonce: the serial,
 * 8 bytes little-endian, then 4 zero bytes. Authenticated beside the input: the packed extent.
 */
#include "base/aead.h"
#include "pages/builtin.h"
#include <stdlib.h>
#include <string.h>

struct aead_state {
	enum aead_kind kind;
	const uint8_t *key;
};

static int state_new(struct torpor_filter_setup *setup, enum aead_kind kind, void **state)
{
	struct aead_state *s;

	if (setup->options) {
		strcpy(setup->error, "it has no options; keys are named by other ways");
		return -EINVAL;
	}
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s = (struct aead_state){ kind, setup->key };
	*state = s;
	return 0;
}

static int aes_gcm_open(struct torpor_filter_setup *setup, void **state)
{
	return state_new(setup, AEAD_AES_256_GCM, state);
}

static int chacha_open(struct torpor_filter_setup *setup, void **state)
{
	return state_new(setup, AEAD_CHACHA20_POLY1305, state);
}

static int worker_open(void *state, void **worker)
{
	const struct aead_state *s = state;

	*worker = aead_new(s->kind, s->key);
	return *worker ? 0 : -ENOMEM;
}

static void worker_close(void *worker)
{
	aead_free(worker);
}

static void make_nonce(const struct torpor_extent *x, uint8_t *nonce)
{
	for (size_t i = 0; i < AEAD_NONCE; i++)
		nonce[i] = i < 8 ? (uint8_t)(x->serial >> 8 * i) : 0;
}

static int64_t encode(void *worker, const struct torpor_extent *x, const uint8_t *in, size_t len,
	uint8_t *out, size_t room)
{
	uint8_t nonce[AEAD_NONCE], aad[TORPOR_EXTENT_PACKED];
	int r;

	if (room < len + AEAD_TAG)
		return -E2BIG;
	make_nonce(x, nonce);
	torpor_extent_pack(x, aad);
	r = aead_seal(worker, nonce, aad, sizeof(aad), in, len, out);
	return r < 0 ? r : (int64_t)(len + AEAD_TAG);
}

static int64_t decode(void *worker, const struct torpor_extent *x, const uint8_t *in, size_t len,
	uint8_t *out, size_t room)
{
	uint8_t nonce[AEAD_NONCE], aad[TORPOR_EXTENT_PACKED];
	int r;

	if (len < AEAD_TAG || room < len - AEAD_TAG)
		return -EBADMSG;
	make_nonce(x, nonce);
	torpor_extent_pack(x, aad);
	r = aead_open(worker, nonce, aad, sizeof(aad), in, len, out);
	return r < 0 ? r : (int64_t)(len - AEAD_TAG);
}

const struct torpor_page_filter page_filter_aes_gcm = {
	.abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter),
	.name = "aes-gcm",
	.summary = "authenticated encryption, AES-256-GCM",
	.caps = TORPOR_FILTER_NEEDS_KEY | TORPOR_FILTER_ALWAYS | TORPOR_FILTER_AUTHENTIC,
	.expansion = AEAD_TAG,
	.open = aes_gcm_open,
	.close = free,
	.worker_open = worker_open,
	.worker_close = worker_close,
	.encode = encode,
	.decode = decode,
};

const struct torpor_page_filter page_filter_chacha = {
	.abi = TORPOR_PAGE_FILTER_ABI,
	.size = sizeof(struct torpor_page_filter),
	.name = "chacha20-poly1305",
	.summary = "authenticated encryption, ChaCha20-Poly1305",
	.caps = TORPOR_FILTER_NEEDS_KEY | TORPOR_FILTER_ALWAYS | TORPOR_FILTER_AUTHENTIC,
	.expansion = AEAD_TAG,
	.open = chacha_open,
	.close = free,
	.worker_open = worker_open,
	.worker_close = worker_close,
	.encode = encode,
	.decode = decode,
};
