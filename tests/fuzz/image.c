// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: one image file of any type. The first byte chooses the type, the second one whether
 * the header is right (then the rest follows it) or part of the input.
 */
#include "image/image.h"
#include "snapshot/snapshot.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ID = 5 };

static int dirfd = -1;
static char folder[] = "/dev/shm/torpor-fuzz-XXXXXX";

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* libFuzzer ends by _Exit() on a crash: that folder stays for a look. */
static void remove_folder(void)
{
	unlinkat(dirfd, "inventory.img", 0);
	rmdir(folder);
}

/* A folder with an inventory, which is what makes it an image set. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	InventoryEntry inventory = INVENTORY_ENTRY__INIT;
	struct image_set *set = NULL;
	struct err err = ERR_INIT;

	inventory.img_version = 2;
	if (!mkdtemp(folder) || (dirfd = open(folder, O_RDONLY | O_DIRECTORY)) < 0)
		die(folder);
	if (image_set_open(dirfd, true, &set, &err) < 0 ||
		image_set_commit(set, &inventory, &err) < 0)
		die("inventory");
	image_set_close(set);
	atexit(remove_folder);
	return 0;
}

/* What every reader of an image does: messages, and the payload they announce. */
static int walk(struct image_set *set, enum image_id type, struct err *err)
{
	bool pagemap = type == IMG_PAGEMAP || type == IMG_PAGEMAP_SHMEM;
	const ProtobufCMessageDescriptor *desc =
		pagemap ? &pagemap_head__descriptor : image_types[type].desc;
	struct arena *a = arena_new();
	struct image_reader *r = NULL;
	void *msg, *payload;
	int got = image_open(set, type, ID, &r, err);

	while (got >= 0 && r && (got = image_next_as(r, desc, a, &msg, err)) > 0) {
		got = image_payload_keep(r, snapshot_payload_len(type, msg), a, &payload, err);
		desc = image_types[type].desc;
	}
	image_reader_close(r);
	arena_free(a);
	return got;
}

/* The file as the writer begins it, so that no knowledge of headers stands here. */
static void put_file(struct image_set *set, enum image_id type, bool header, const uint8_t *bytes,
	size_t len)
{
	struct image_writer *w = NULL;
	struct err err = ERR_INIT;
	char name[64];
	int fd;

	if (image_create(set, type, ID, &w, &err) < 0 || image_finish(w, &err) < 0)
		die("image");
	image_name(type, ID, name, sizeof(name));
	fd = openat(dirfd, name, O_WRONLY | (header ? O_APPEND : O_TRUNC));
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		die(name);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_set *set = NULL;
	struct err err = ERR_INIT;
	enum image_id type;
	char name[64];

	if (size < 2)
		return 0;
	type = data[0] % IMG_COUNT;
	if (!image_types[type].desc || type == IMG_INVENTORY)
		return 0;
	if (image_set_open(dirfd, false, &set, &err) < 0)
		abort();
	put_file(set, type, data[1] & 1, data + 2, size - 2);
	if (walk(set, type, &err) < 0 && !err_is_set(&err))
		abort();
	image_set_close(set);
	unlinkat(dirfd, image_name(type, ID, name, sizeof(name)), 0);
	return 0;
}
