// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libFuzzer: a pagemap with extents and its pages file. The input is the content of the pagemap
 * behind its magics, then of the pages file; its first two bytes say where the second begins. What
 * loads is read, page by page and whole.
 */
#include "pages/filter.h"
#include "pages/source.h"
#include "proto/messages.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ID = 5, PAGES_ID = 1, READ_MOST = 256 };

static int dirfd = -1;
static char folder[] = "/dev/shm/torpor-fuzz-XXXXXX";
static struct image_set *set;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* libFuzzer ends by _Exit() on a crash: that folder stays for a look. */
static void remove_folder(void)
{
	static const char *const names[] = { "inventory.img", "torpor-filters", "pagemap-5.img",
		"pages-1.img" };

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlinkat(dirfd, names[i], 0);
	rmdir(folder);
}

/* A set with filters, as a dump leaves it. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct filter_wish wishes[] = { { "zero", NULL }, { "lz4", NULL }, { "zstd", NULL } };
	InventoryEntry inventory = INVENTORY_ENTRY__INIT;
	struct filter_chain *chain;
	struct image_set *out;
	struct err err = ERR_INIT;

	inventory.img_version = 2;
	if (!mkdtemp(folder) || (dirfd = open(folder, O_RDONLY | O_DIRECTORY)) < 0)
		die(folder);
	if (image_set_open(dirfd, true, &out, &err) < 0 ||
		filter_chain_create(out, wishes, 3, &err) < 0 ||
		filter_chain_of(out, &chain, &err) < 0 || filter_chain_settle(chain, &err) < 0 ||
		image_set_commit(out, &inventory, &err) < 0)
		die("set");
	image_set_close(out);
	if (image_set_open(dirfd, false, &set, &err) < 0)
		die("reading the set");
	atexit(remove_folder);
	return 0;
}

static void put_file(const char *name, const void *head, size_t head_len, const uint8_t *bytes,
	size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, head, head_len) < 0 || write(fd, bytes, len) < 0)
		die(name);
	close(fd);
}

/* What reading promises: nothing beyond the pages, and a sentence where it fails. */
static void read_all(struct page_source *src)
{
	uint8_t *buf = malloc(READ_MOST * PAGE);
	uint64_t left = READ_MOST;

	vec_each(seg, &src->segments) {
		uint64_t n = seg->pages < left ? seg->pages : left;
		struct err err = ERR_INIT;

		if (page_source_read(src, seg, seg->vaddr, n, buf, &err) < 0 && !err_is_set(&err))
			abort();
		for (uint64_t i = n; i-- > 0;) {
			err_clear(&err);
			if (page_source_read(src, seg, seg->vaddr + i * PAGE, 1, buf, &err) < 0 &&
				!err_is_set(&err))
				abort();
		}
		left -= n;
		if (!left)
			break;
	}
	free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint32_t magics[2] = { 0x54525046, image_types[IMG_PAGEMAP].magic };
	struct page_source src;
	struct err err = ERR_INIT;
	size_t cut;

	if (size < 2)
		return 0;
	cut = (size_t)(data[0] | data[1] << 8);
	data += 2;
	size -= 2;
	cut = cut < size ? cut : size;
	put_file("pagemap-5.img", magics, sizeof(magics), data, cut);
	put_file("pages-1.img", "", 0, data + cut, size - cut);
	if (page_source_open(set, IMG_PAGEMAP, ID, &src, &err) < 0) {
		if (!err_is_set(&err))
			abort();
		return 0;
	}
	read_all(&src);
	page_source_close(&src);
	return 0;
}
