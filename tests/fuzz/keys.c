// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: what an encrypted set says of its keys, and keys as text. The first byte chooses. A
 * reader has a secret key and a key of 32 bytes; slots of passphrases are left to their own time.
 */
#include "image/key_text.h"
#include "image/keys.h"
#include "proto/messages.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t dump_id[16] = "0123456789abcde";
static char name[] = "/dev/shm/torpor-fuzz-key-XXXXXX";
static struct keyring *keyring;

static void remove_key(void)
{
	unlink(name);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char *identities[] = { name };
	uint8_t key[KEY_BYTES] = { 1, 2, 3 };
	struct key_wishes wishes = { .identities = identities, .n_identities = 1,
		.passphrase_fd = -1, .key_fd = memfd_create("key", MFD_CLOEXEC) };
	struct err err = ERR_INIT;
	int fd = mkstemp(name);
	FILE *null = fopen("/dev/null", "w");

	if (fd < 0 || !null || write(wishes.key_fd, key, sizeof(key)) != sizeof(key) ||
		lseek(wishes.key_fd, 0, SEEK_SET) < 0)
		abort();
	close(fd);
	unlink(name);
	if (key_generate(name, null, &err) < 0)
		abort();
	fclose(null);
	atexit(remove_key);
	keyring = keyring_new(&wishes);
	return 0;
}

static void unwrap(const uint8_t *data, size_t size)
{
	TorporEnvelopeEntry *e = torpor_envelope_entry__unpack(NULL, size, data);
	uint8_t set_key[KEY_BYTES];
	struct err err = ERR_INIT;

	if (!e)
		return;
	if (keyring_unwrap(keyring, dump_id, e, set_key, &err) < 0 && !err_is_set(&err))
		abort();
	torpor_envelope_entry__free_unpacked(e, NULL);
}

static void parse(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);
	uint8_t key[KEY_BYTES];
	struct err err = ERR_INIT;

	if (key_parse(KEY_PUBLIC, text, key, &err) < 0 && !err_is_set(&err))
		abort();
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] % 2)
		parse(data + 1, size - 1);
	else
		unwrap(data + 1, size - 1);
	return 0;
}
