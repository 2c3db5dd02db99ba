/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The x86 extended register state as ptrace gives and takes it: the XSAVE area in the
 * non-compacted layout (Intel SDM volume 1, chapter 13), whose offsets CPUID leaf 0xD tells.
 * Software bytes 464..471 of the legacy part hold the mask of components the kernel offers
 * (arch/x86/include/uapi/asm/sigcontext.h).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum xstate_component {
	XSTATE_X87 = 0,
	XSTATE_SSE = 1,
	XSTATE_AVX = 2,
	XSTATE_BNDREGS = 3,
	XSTATE_BNDCSR = 4,
	XSTATE_OPMASK = 5,
	XSTATE_ZMM_UPPER = 6,
	XSTATE_HI16_ZMM = 7,
	XSTATE_PKRU = 9,
	XSTATE_COUNT = 64,
};

enum {
	XSTATE_LEGACY = 512,	/* FXSAVE part */
	XSTATE_MIN = 576,	/* and header */
	XSTATE_MAX = 64 * 1024, /* more than any processor has */
	XSTATE_SOFTWARE = 464,
	XSTATE_BV = 512,
};

/*
 * Where a component lies on this processor, which has XSAVE; false if it has no such (user)
 * component.
 */
bool xstate_place(unsigned component, size_t *ret_offset, size_t *ret_len);
/* Size of an area with all components of the mask; at least XSTATE_MIN. */
size_t xstate_size(uint64_t mask);
/* "AVX-512 mask registers" */
const char *xstate_name(unsigned component);
