// SPDX-License-Identifier: GPL-2.0-or-later
/* libFuzzer: one stream of images, taken apart into a directory. */
#include "image/stream.h"
#include "image/stream_form.h"
#include "tests/fuzz/folder.h"
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	folder_make();
	return 0;
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
	folder_empty();
	return 0;
}
