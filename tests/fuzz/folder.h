/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder of a fuzzer's own, in which only files with names of images come to be. */
#pragma once
#include "image/image.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int dirfd = -1;
static char folder[] = "/dev/shm/torpor-fuzz-XXXXXX";

/* libFuzzer ends by _Exit() on a crash: that folder stays for a look. */
static void folder_remove(void)
{
	rmdir(folder);
}

/* Opens it as dirfd; it goes at the end. */
static void folder_make(void)
{
	if (!mkdtemp(folder) || (dirfd = open(folder, O_RDONLY | O_DIRECTORY)) < 0) {
		perror(folder);
		exit(2);
	}
	atexit(folder_remove);
}

/* Files have names of images, whatever was sent. */
static void folder_empty(void)
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
