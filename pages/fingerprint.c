// SPDX-License-Identifier: GPL-2.0-or-later
/* See pages/fingerprint.h. */
#include "pages/fingerprint.h"
#include "pages/pages.h"
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

int fingerprint_key_make(struct fingerprint_key *k, struct err *err)
{
	return getrandom(k->secret, sizeof(k->secret), 0) == sizeof(k->secret) ? 0 :
		err_sys(err, "cannot get random bytes");
}

void page_fingerprint(const struct fingerprint_key *k, const uint8_t *page, uint8_t *ret)
{
	XXH128_hash_t h = XXH3_128bits_withSecret(page, PAGE, k->secret, sizeof(k->secret));

	memcpy(ret, &h, FINGERPRINT_BYTES);
}
