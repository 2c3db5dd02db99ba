// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: the manifest of an encrypted set, as somebody with the key may have written it, and a
 * sealed file of anybody. The first byte chooses.
 */
#include "base/secret.h"
#include "image/keys.h"
#include "image/sealed.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int dirfd = -1;
static char folder[] = "/dev/shm/torpor-fuzz-XXXXXX";
static struct image_access readers;

/* libFuzzer ends by _Exit() on a crash: that folder stays for a look. */
static void remove_folder(void)
{
	unlinkat(dirfd, "torpor-manifest", 0);
	unlinkat(dirfd, "inventory.img", 0);
	rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	uint8_t key[KEY_BYTES] = { 3, 2, 1 };
	struct key_wishes wishes = { .passphrase_fd = -1, .key_fd = memfd_create("key", MFD_CLOEXEC) };

	if (!mkdtemp(folder) || (dirfd = open(folder, O_RDONLY | O_DIRECTORY)) < 0 ||
		write(wishes.key_fd, key, sizeof(key)) != sizeof(key) ||
		lseek(wishes.key_fd, 0, SEEK_SET) < 0) {
		perror(folder);
		exit(2);
	}
	atexit(remove_folder);
	readers.keys = keyring_new(&wishes);
	return 0;
}

static void need(int result)
{
	if (result < 0)
		abort();
}

static void put_manifest(struct image_set *set, const uint8_t *data, size_t size, struct err *err)
{
	const uint32_t magics[2] = { IMAGE_MAGIC_SERVICE, image_types[IMG_TORPOR_MANIFEST].magic };
	struct seal_writer *w;
	uint8_t salt[SEAL_SALT];
	int fd;

	need(image_create_fd(set, "torpor-manifest", &fd, err));
	need(seal_writer_new(&set->sealed->key, "torpor-manifest", fd, 0, salt, &w, err));
	need(seal_write(w, magics, sizeof(magics)));
	need(seal_write(w, data, size));
	need(seal_finish(w));
	seal_writer_free(w);
	close(fd);
	sealed_note(set->sealed, "torpor-manifest", salt);
}

/* A set whose manifest is the input; nothing else is wrong with it. */
static void read_set(const uint8_t *data, size_t size)
{
	InventoryEntry inventory = INVENTORY_ENTRY__INIT;
	struct image_writer *w;
	struct image_set *set;
	struct err err = ERR_INIT;

	need(image_set_open_with(dirfd, true, &readers, &set, &err));
	need(image_set_seal(set, AEAD_AES_256_GCM, &err));
	put_manifest(set, data, size, &err);
	inventory.img_version = 2;
	need(image_create_named(set, IMG_INVENTORY, "inventory.img", 0, &w, &err));
	need(torpor_put_inventory(set, &inventory, w, &err));
	need(image_finish(w, &err));
	image_set_close(set);
	if (image_set_open_with(dirfd, false, &readers, &set, &err) == 0)
		image_set_close(set);
	else if (!err_is_set(&err))
		abort();
}

/* The header's constant parts are right, or nothing would be looked at. */
static void read_file(const uint8_t *data, size_t size)
{
	static uint8_t secret[KEY_BYTES] = { 1 };
	const struct seal_key key = { AEAD_AES_256_GCM, secret, { 9 } };
	const uint32_t numbers[4] = { 0x54525345, 1, 1, SEAL_PIECE };
	uint8_t header[SEAL_HEADER] = { 0 }, byte;
	struct seal_reader *r;
	struct err err = ERR_INIT;
	int fd = memfd_create("sealed", MFD_CLOEXEC);

	memcpy(header, numbers, sizeof(numbers));
	header[16] = 9;
	if (fd < 0 || write(fd, header, sizeof(header)) < 0 || write(fd, data, size) < 0)
		abort();
	if (seal_reader_new(&key, "name", fd, sizeof(header) + size, header + 32, &r, &err) == 0) {
		if (seal_length(r) > size)
			abort();
		for (uint64_t at = 0; at < seal_length(r); at += SEAL_PIECE / 2)
			(void)!seal_read(r, &byte, 1, at);
		seal_reader_free(r);
	} else if (!err_is_set(&err)) {
		abort();
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	if (data[0] % 2)
		read_file(data + 1, size - 1);
	else
		read_set(data + 1, size - 1);
	return 0;
}
