/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who may read an encrypted set. Each set has a random key of its own; it stands in the inventory
 * once for each recipient, passphrase or key, encrypted for it.
 *
 * Secrets come from files, descriptors or the terminal, never from the command line or the
 * environment. They are read once, when the first set needs them, and kept in locked memory.
 */
#pragma once
#include "base/arena.h"
#include "base/secret.h"

struct TorporEnvelopeEntry;

/* What the user gave; it is borrowed. */
struct key_wishes {
	char *const *recipients; /* public keys, or files with them */
	size_t n_recipients;
	char *const *identities; /* files with secret keys */
	size_t n_identities;
	int passphrase_fd, key_fd; /* -1: none */
};

struct keyring;

struct keyring *keyring_new(const struct key_wishes *w);
void keyring_free(struct keyring *k); /* NULL is fine */

/*
 * Fills the slots of an envelope for a set that is to be written. Without recipient, passphrase or
 * key a passphrase is asked on the terminal.
 */
int keyring_wrap(struct keyring *k, const uint8_t *dump_id, const uint8_t *set_key, struct arena *a,
	struct TorporEnvelopeEntry *e, struct err *err) must_use;
/* The key of a set; a missing and a wrong key are different sentences. */
int keyring_unwrap(struct keyring *k, const uint8_t *dump_id, const struct TorporEnvelopeEntry *e,
	uint8_t *ret_set_key, struct err *err) must_use;
