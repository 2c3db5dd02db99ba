/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vdso: a small shared object the kernel maps into every process, and its data (vvar) beside
 * it. Kernels differ in the size of both, in the code and in the functions; the code finds its
 * data by distance, so the parts may only be moved together.
 */
#pragma once
#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

enum { VDSO_PARTS_MAX = 4, VDSO_SYMBOLS_MAX = 64, VDSO_NAME_MAX = 48 };

/* One area of this kernel's: "[vvar]", "[vvar_vclock]", "[vdso]". mremap(2) moves one at a time. */
struct vdso_part {
	uint64_t offset; /* from the lowest part */
	uint64_t len;
	bool is_code;
};

/* What this kernel maps, seen in our own address space; n = 0 if it maps none. */
struct vdso_self {
	struct vdso_part parts[VDSO_PARTS_MAX];
	size_t n;
	uint64_t span; /* from the lowest byte to the highest */
	uint64_t code_offset, data_offset; /* from the lowest part */
	uint64_t code_len, data_len; /* data_len: all vvar parts together */
	const uint8_t *code;
};

int vdso_look_self(struct vdso_self *ret, struct err *err) must_use;

/* An exported function. */
struct vdso_symbol {
	char name[VDSO_NAME_MAX];
	uint64_t offset, size; /* inside the image; checked to lie in it */
};

/*
 * Functions of a vdso image (ELF64, as it lies in memory) into ret, at most max; returns their
 * number or -ENOEXEC if this is no such image. Never reads outside of it.
 */
int vdso_symbols(const uint8_t *image, size_t len, struct vdso_symbol *ret, size_t max) must_use;
