/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Build ids: what a linker writes into an ELF file to tell builds apart (elf(5), NT_GNU_BUILD_ID). */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { BUILDID_MAX = 64 };

/* Length of the build id of the file, 0 if it has none or is no ELF file. fd must be readable. */
size_t buildid_read(int fd, uint8_t ret[BUILDID_MAX]);
