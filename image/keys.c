// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * See image/keys.h.
 *
 * The key that encrypts the set's key in a slot is used for nothing else, so its nonce is zero:
 *   X25519      HKDF of the shared secret, salted with both public keys; the sender's is new
 *   passphrase  scrypt with a new salt
 *   key         HKDF with a new salt
 * Authenticated beside it: the id of the dump and the kind of slot.
 */
#include "image/keys_priv.h"
#include "base/aead.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/kdf.h"
#include "base/vec.h"
#include "image/image.h"
#include "image/key_text.h"
#include "proto/messages.h"
#include <fcntl.h>
#include <string.h>
#include <termios.h>

enum slot_kind { SLOT_X25519 = 1, SLOT_PASSPHRASE = 2, SLOT_KEY = 3 };
enum {
	SLOTS_MOST = 64,
	WRAPPED = KEY_BYTES + AEAD_TAG,
};

struct keyring *keyring_new(const struct key_wishes *w)
{
	struct keyring *k = calloc(1, sizeof(*k));

	if (!k)
		abort();
	k->w = *w;
	return k;
}

void keyring_free(struct keyring *k)
{
	if (!k)
		return;
	secret_free(k->identities);
	secret_free((uint8_t *)k->passphrase);
	secret_free(k->key);
	free(k);
}

/* --------------------------------------------------------------------------------------- slots */

/* Authenticated data of a slot. */
static void slot_aad(uint8_t *aad, const uint8_t *dump_id, uint32_t kind)
{
	memcpy(aad, dump_id, IMAGE_DUMP_ID);
	aad[IMAGE_DUMP_ID] = (uint8_t)kind;
}

static int slot_seal(TorporKeySlotEntry *s, const uint8_t *dump_id, const uint8_t *wrapping,
	const uint8_t *set_key, struct arena *a, struct err *err)
{
	struct aead *aead = aead_new(AEAD_CHACHA20_POLY1305, wrapping);
	uint8_t nonce[AEAD_NONCE] = { 0 }, aad[IMAGE_DUMP_ID + 1];
	int r = -ENOMEM;

	slot_aad(aad, dump_id, s->kind);
	s->wrapped.len = WRAPPED;
	s->wrapped.data = arena_alloc(a, WRAPPED);
	if (aead)
		r = aead_seal(aead, nonce, aad, sizeof(aad), set_key, KEY_BYTES, s->wrapped.data);
	aead_free(aead);
	return r < 0 ? err_sysn(err, -r, "cannot encrypt the key of the images") : 0;
}

/* 1: it opened; 0: it is not for this key. */
static int slot_open(const TorporKeySlotEntry *s, const uint8_t *dump_id, const uint8_t *wrapping,
	uint8_t *ret_set_key)
{
	struct aead *aead = aead_new(AEAD_CHACHA20_POLY1305, wrapping);
	uint8_t nonce[AEAD_NONCE] = { 0 }, aad[IMAGE_DUMP_ID + 1];
	int r = -ENOMEM;

	slot_aad(aad, dump_id, s->kind);
	if (aead)
		r = aead_open(aead, nonce, aad, sizeof(aad), s->wrapped.data, s->wrapped.len,
			ret_set_key);
	aead_free(aead);
	return r == 0;
}

/* What one of the two sides of an exchange and the other one's public key come to. */
static int exchange(const uint8_t *secret, const uint8_t *other, const uint8_t *sender,
	const uint8_t *recipient, uint8_t *ret_wrapping, struct err *err)
{
	uint8_t shared[KEY_BYTES], salt[2 * KEY_BYTES];
	int r = x25519_shared(secret, other, shared, err);

	memcpy(salt, sender, KEY_BYTES);
	memcpy(salt + KEY_BYTES, recipient, KEY_BYTES);
	if (r == 0)
		r = kdf_expand(shared, sizeof(shared), salt, sizeof(salt), "torpor recipient 1",
			ret_wrapping, err);
	secret_wipe(shared, sizeof(shared));
	return r;
}

static int wrapping_of_passphrase(const struct keyring *k, const TorporKeySlotEntry *s,
	uint8_t *ret_wrapping, struct err *err)
{
	return kdf_scrypt(k->passphrase, strlen(k->passphrase), s->salt.data, s->scrypt_log_n,
		s->scrypt_r, s->scrypt_p, ret_wrapping, err);
}

static int wrapping_of_key(const struct keyring *k, const TorporKeySlotEntry *s,
	uint8_t *ret_wrapping, struct err *err)
{
	return kdf_expand(k->key, KEY_BYTES, s->salt.data, s->salt.len, "torpor key 1",
		ret_wrapping, err);
}

/* ------------------------------------------------------------------------------------ wrapping */

static TorporKeySlotEntry *slot_new(struct arena *a, TorporEnvelopeEntry *e, enum slot_kind kind,
	size_t salt)
{
	TorporKeySlotEntry *s = arena_msg(a, TorporKeySlotEntry, torpor_key_slot_entry);

	s->kind = kind;
	s->salt.len = salt;
	s->salt.data = arena_alloc(a, salt);
	arena_push(a, e->slots, e->n_slots, s);
	return s;
}

static int recipient_key(const char *text, uint8_t *ret, struct err *err)
{
	int r = key_parse(KEY_PUBLIC, text, ret, err);

	if (r < 0)
		return err_while(err, "reading --recipient");
	return r > 0 ? 0 : key_read_file(KEY_PUBLIC, text, ret, err);
}

static int wrap_recipient(const char *text, const uint8_t *dump_id, const uint8_t *set_key,
	struct arena *a, TorporEnvelopeEntry *e, struct err *err)
{
	TorporKeySlotEntry *s = slot_new(a, e, SLOT_X25519, KEY_BYTES);
	uint8_t recipient[KEY_BYTES], secret[KEY_BYTES], wrapping[KEY_BYTES];
	int r = recipient_key(text, recipient, err);

	if (r == 0)
		r = random_bytes(secret, sizeof(secret), err);
	if (r == 0)
		r = x25519_public(secret, s->salt.data, err);
	if (r == 0)
		r = exchange(secret, recipient, s->salt.data, recipient, wrapping, err);
	if (r == 0)
		r = slot_seal(s, dump_id, wrapping, set_key, a, err);
	secret_wipe(secret, sizeof(secret));
	secret_wipe(wrapping, sizeof(wrapping));
	return r;
}

static int wrap_passphrase(struct keyring *k, const uint8_t *dump_id, const uint8_t *set_key,
	struct arena *a, TorporEnvelopeEntry *e, struct err *err)
{
	TorporKeySlotEntry *s = slot_new(a, e, SLOT_PASSPHRASE, SCRYPT_SALT);
	uint8_t wrapping[KEY_BYTES];
	int r = keyring_read_passphrase(k, true, err);

	s->has_scrypt_log_n = s->has_scrypt_r = s->has_scrypt_p = true;
	s->scrypt_log_n = SCRYPT_LOG_N;
	s->scrypt_r = SCRYPT_R;
	s->scrypt_p = SCRYPT_P;
	if (r == 0)
		r = random_bytes(s->salt.data, s->salt.len, err);
	if (r == 0)
		r = wrapping_of_passphrase(k, s, wrapping, err);
	if (r == 0)
		r = slot_seal(s, dump_id, wrapping, set_key, a, err);
	secret_wipe(wrapping, sizeof(wrapping));
	return r;
}

static int wrap_key(struct keyring *k, const uint8_t *dump_id, const uint8_t *set_key,
	struct arena *a, TorporEnvelopeEntry *e, struct err *err)
{
	TorporKeySlotEntry *s = slot_new(a, e, SLOT_KEY, SCRYPT_SALT);
	uint8_t wrapping[KEY_BYTES];
	int r = keyring_read_key(k, err);

	if (r == 0)
		r = random_bytes(s->salt.data, s->salt.len, err);
	if (r == 0)
		r = wrapping_of_key(k, s, wrapping, err);
	if (r == 0)
		r = slot_seal(s, dump_id, wrapping, set_key, a, err);
	secret_wipe(wrapping, sizeof(wrapping));
	return r;
}

int keyring_wrap(struct keyring *k, const uint8_t *dump_id, const uint8_t *set_key, struct arena *a,
	TorporEnvelopeEntry *e, struct err *err)
{
	bool nobody = !k->w.n_recipients && k->w.key_fd < 0;
	int r = 0;

	if (k->w.n_recipients > SLOTS_MOST - 2)
		return err_usage(err, "there cannot be more than %d recipients", SLOTS_MOST - 2);
	for (size_t i = 0; i < k->w.n_recipients && r == 0; i++)
		r = wrap_recipient(k->w.recipients[i], dump_id, set_key, a, e, err);
	if (r == 0 && k->w.key_fd >= 0)
		r = wrap_key(k, dump_id, set_key, a, e, err);
	if (r == 0 && (k->w.passphrase_fd >= 0 || nobody))
		r = wrap_passphrase(k, dump_id, set_key, a, e, err);
	return r;
}

/* ---------------------------------------------------------------------------------- unwrapping */

static int check_slots(const TorporEnvelopeEntry *e, struct err *err)
{
	if (!e->n_slots || e->n_slots > SLOTS_MOST)
		return err_image(err, "inventory.img has %zu keys", e->n_slots);
	for (size_t i = 0; i < e->n_slots; i++) {
		const TorporKeySlotEntry *s = e->slots[i];
		size_t salt = s->kind == SLOT_X25519 ? KEY_BYTES : SCRYPT_SALT;

		if (s->wrapped.len != WRAPPED || s->salt.len != salt)
			return err_image(err, "inventory.img has a key of %zu bytes with a salt of %zu",
				s->wrapped.len, s->salt.len);
	}
	return 0;
}

static int try_identities(struct keyring *k, const uint8_t *dump_id, const TorporKeySlotEntry *s,
	uint8_t *ret_set_key, struct err *err)
{
	uint8_t public[KEY_BYTES], wrapping[KEY_BYTES];
	int r = keyring_read_identities(k, err), got = 0;

	for (size_t i = 0; i < k->n_identities && r == 0 && !got; i++) {
		const uint8_t *secret = k->identities + i * KEY_BYTES;

		r = x25519_public(secret, public, err);
		if (r == 0)
			r = exchange(secret, s->salt.data, s->salt.data, public, wrapping, err);
		if (r == 0)
			got = slot_open(s, dump_id, wrapping, ret_set_key);
	}
	secret_wipe(wrapping, sizeof(wrapping));
	return r < 0 ? r : got;
}

/* 1: opened; 0: not. A passphrase is asked only if nothing else was given. */
static int try_slot(struct keyring *k, const uint8_t *dump_id, const TorporKeySlotEntry *s,
	bool may_ask, uint8_t *ret_set_key, struct err *err)
{
	uint8_t wrapping[KEY_BYTES];
	int r;

	if (s->kind == SLOT_X25519)
		return try_identities(k, dump_id, s, ret_set_key, err);
	if (s->kind == SLOT_KEY && (k->key || k->w.key_fd >= 0)) {
		r = keyring_read_key(k, err);
		if (r == 0)
			r = wrapping_of_key(k, s, wrapping, err);
	} else if (s->kind == SLOT_PASSPHRASE &&
		(k->passphrase || k->w.passphrase_fd >= 0 || may_ask)) {
		r = keyring_read_passphrase(k, false, err);
		if (r == 0)
			r = wrapping_of_passphrase(k, s, wrapping, err);
	} else {
		return 0;
	}
	if (r == 0)
		r = slot_open(s, dump_id, wrapping, ret_set_key);
	secret_wipe(wrapping, sizeof(wrapping));
	return r;
}

static int no_key(const TorporEnvelopeEntry *e, bool given, struct err *err)
{
	bool kinds[SLOT_KEY + 1] = { false };

	if (given)
		return err_set(err, ERR_IMAGE, EKEYREJECTED, "the images are encrypted, and what was "
			"given does not open them: it is not their key, or they were changed");
	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i]->kind <= SLOT_KEY)
			kinds[e->slots[i]->kind] = true;
	return err_set(err, ERR_IMAGE, ENOKEY, "the images are encrypted: give%s%s%s",
		kinds[SLOT_X25519] ? " --identity FILE" : "",
		kinds[SLOT_PASSPHRASE] ? kinds[SLOT_X25519] ? " or --passphrase-fd FD" :
			" --passphrase-fd FD" : "",
		kinds[SLOT_KEY] ? kinds[SLOT_X25519] || kinds[SLOT_PASSPHRASE] ? " or --key-fd FD" :
			" --key-fd FD" : "");
}

int keyring_unwrap(struct keyring *k, const uint8_t *dump_id, const TorporEnvelopeEntry *e,
	uint8_t *ret_set_key, struct err *err)
{
	bool given = k->w.n_identities || k->w.key_fd >= 0 || k->w.passphrase_fd >= 0;
	bool may_ask = !given && keyring_may_ask(), has_passphrase = false;
	int r = check_slots(e, err);

	for (size_t i = 0; i < e->n_slots && r == 0; i++) {
		has_passphrase |= e->slots[i]->kind == SLOT_PASSPHRASE;
		r = try_slot(k, dump_id, e->slots[i], may_ask, ret_set_key, err);
	}
	if (r)
		return r < 0 ? r : 0;
	return no_key(e, given || (has_passphrase && k->passphrase), err);
}
