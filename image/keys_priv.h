/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of a keyring, for keys.c and key_secrets.c only. */
#pragma once
#include "image/keys.h"

struct keyring {
	struct key_wishes w;
	uint8_t *identities; /* secret keys, one behind the other; NULL: not read yet */
	size_t n_identities;
	char *passphrase; /* NULL: not read yet */
	uint8_t *key;
};

/* They read what the user named, if it is not known yet. */
int keyring_read_identities(struct keyring *k, struct err *err) must_use;
int keyring_read_key(struct keyring *k, struct err *err) must_use;
/* is_new: it is asked twice if it is asked. */
int keyring_read_passphrase(struct keyring *k, bool is_new, struct err *err) must_use;
/* Whether there is a terminal to ask on. */
bool keyring_may_ask(void);
