/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fingerprints of pages within one run: equal pages have equal ones, different ones do not, and what
 * is in the pages cannot be chosen so that they do, because the hash depends on random bytes.
 */
#pragma once
#include "base/err.h"
#include <stdint.h>

enum { FINGERPRINT_BYTES = 16 };

struct fingerprint_key {
	uint8_t secret[192];
};

int fingerprint_key_make(struct fingerprint_key *k, struct err *err) must_use;
/* XXH3-128 of one page. */
void page_fingerprint(const struct fingerprint_key *k, const uint8_t *page, uint8_t *ret);
