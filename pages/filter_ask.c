// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From options to filters: those of --page-filter in the order given, then what --compress is short
 * for, then the cipher of --encrypt if there is none yet. Before a compressor stands "zero", which
 * costs nothing.
 */
#include "base/aead.h"
#include "base/arena.h"
#include "image/keys.h"
#include "pages/builtin.h"
#include "pages/filter.h"
#include <string.h>

struct asking {
	struct arena *arena;
	struct filter_wish wishes[FILTERS_MAX];
	size_t n;
};

/* NAME[:OPTIONS] */
static int ask(struct asking *a, const char *text, struct err *err)
{
	char *name = arena_strdup(a->arena, text), *colon = strchr(name, ':');

	if (a->n == FILTERS_MAX)
		return err_usage(err, "there cannot be more than %d page filters", FILTERS_MAX);
	if (colon)
		*colon = '\0';
	a->wishes[a->n++] = (struct filter_wish){ name, colon ? colon + 1 : NULL };
	return 0;
}

static int ask_compress(struct asking *a, const char *method, struct err *err)
{
	size_t len = strcspn(method, ":");
	int r;

	if (!(len == 3 && !strncmp(method, "lz4", 3)) && !(len == 4 && !strncmp(method, "zstd", 4)))
		return err_usage(err, "--compress does not know '%s', only lz4 and zstd[:LEVEL]",
			method);
	r = ask(a, "zero", err);
	return r < 0 ? r : ask(a, method, err);
}

/* The cipher of the images goes for the pages, unless the user said how. */
static int ask_encrypt(struct asking *a, const char *cipher, struct err *err)
{
	for (size_t i = 0; i < a->n; i++) {
		if (!strcmp(a->wishes[i].name, page_filter_aes_gcm.name) ||
			!strcmp(a->wishes[i].name, page_filter_chacha.name))
			return 0;
	}
	return ask(a, cipher, err);
}

struct image_access access_open(const struct options *o)
{
	const struct key_wishes wishes = {
		.recipients = o->recipient.at, .n_recipients = o->recipient.n,
		.identities = o->identity.at, .n_identities = o->identity.n,
		.passphrase_fd = (int)o->passphrase_fd, .key_fd = (int)o->key_fd };

	return (struct image_access){ .streamed = o->stream || o->given[OPTION_stream_fd],
		.stream = { .streamer = o->stream, .fd = o->stream ? -1 : (int)o->stream_fd,
			.patience_s = options_peer_patience(o) },
		.filter_dir = o->libdir, .keys = keyring_new(&wishes),
		.filter_files = o->page_filter.at, .n_filter_files = o->page_filter.n };
}

void access_close(struct image_access *a)
{
	keyring_free(a->keys);
	a->keys = NULL;
}

static enum aead_kind cipher_of(const char *name)
{
	return strcmp(name, page_filter_chacha.name) ? AEAD_AES_256_GCM : AEAD_CHACHA20_POLY1305;
}

int filter_prepare(struct image_set *set, const struct options *o, struct err *err)
{
	struct asking a = { .arena = arena_new() };
	bool encrypt = o->given[OPTION_encrypt];
	int r = encrypt ? image_set_seal(set, cipher_of(o->encrypt), err) : 0;

	vec_each(text, &o->page_filter)
		if (r == 0)
			r = ask(&a, *text, err);
	if (r == 0 && o->given[OPTION_compress])
		r = ask_compress(&a, o->compress, err);
	if (r == 0 && encrypt)
		r = ask_encrypt(&a, o->encrypt, err);
	if (r == 0 && a.n)
		r = filter_chain_create(set, a.wishes, a.n, err);
	arena_free(a.arena);
	return r;
}
