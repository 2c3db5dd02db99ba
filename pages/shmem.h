/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Contents of shared memory objects (memfd, shared anonymous memory). */
#pragma once
#include "image/image.h"

/*
 * Writes the saved pages of shared object `shmid` (pagemap-shmem-SHMID.img; no image: nothing) into
 * the memory file fd, which must be open for writing, have its final size and no write seals yet.
 * A page outside of the file is an image error.
 */
int shmem_fill(struct image_set *set, unsigned long shmid, int fd, struct err *err) must_use;
