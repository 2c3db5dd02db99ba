// SPDX-License-Identifier: GPL-2.0-or-later
/* libFuzzer: one stream of images, taken apart into a directory. */
#include "image/image.h"
#include "image/stream.h"
#include "image/stream_form.h"
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

/* libFuzzer ends by _Exit() on a crash: that folder stays for a look. */
static void remove_folder(void)
{
	rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (!mkdtemp(folder) || (dirfd = open(folder, O_RDONLY | O_DIRECTORY)) < 0) {
		perror(folder);
		exit(2);
	}
	atexit(remove_folder);
	return 0;
}

/* Files have names of images, whatever the stream said. */
static void empty_folder(void)
{
	struct image_set *set = NULL;
	struct image_list found;
	struct err err = ERR_INIT;
	char name[64];

	if (image_set_open(dirfd, true, &set, &err) < 0 || image_set_scan(set, &found, &err) < 0)
		abort();
	vec_each(f, &found)
		unlinkat(dirfd, image_name(f->type, f->id, name, sizeof(name)), 0);
	vec_done(&found);
	image_set_close(set);
}

/* The magic is always right: nothing is behind a wrong one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);
	struct err err = ERR_INIT;

	if (fd < 0 || write(fd, STREAM_MAGIC, strlen(STREAM_MAGIC)) < 0 || write(fd, data, size) < 0 ||
		lseek(fd, 0, SEEK_SET) < 0)
		abort();
	if (image_stream_take(fd, dirfd, &err) < 0 && !err_is_set(&err))
		abort();
	close(fd);
	empty_folder();
	return 0;
}
