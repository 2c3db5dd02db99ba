// SPDX-License-Identifier: GPL-2.0-or-later
/* See base/secret.h: one page each, there are few. */
#include "base/secret.h"
#include <string.h>
#include <sys/mman.h>

int secret_new(uint8_t **ret, struct err *err)
{
	void *p = mmap(NULL, SECRET_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int saved;

	if (p == MAP_FAILED)
		return err_nomem(err);
	if (mlock(p, SECRET_MAX) < 0 || madvise(p, SECRET_MAX, MADV_DONTFORK) < 0) {
		saved = errno;
		munmap(p, SECRET_MAX);
		return err_set(err, ERR_RESOURCE, saved, "cannot lock memory for a key: %s; raise the "
			"limit of locked memory (ulimit -l)", strerror(saved));
	}
	(void)!madvise(p, SECRET_MAX, MADV_DONTDUMP);
	*ret = p;
	return 0;
}

void secret_free(uint8_t *secret)
{
	if (!secret)
		return;
	explicit_bzero(secret, SECRET_MAX);
	munmap(secret, SECRET_MAX);
}

void secret_wipe(void *p, size_t len)
{
	explicit_bzero(p, len);
}
