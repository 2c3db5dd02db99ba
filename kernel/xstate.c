// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel/xstate.h"
#include <cpuid.h>

bool xstate_place(unsigned component, size_t *ret_offset, size_t *ret_len)
{
	unsigned a, b, c, d;

	if (component <= XSTATE_SSE) {
		*ret_offset = component == XSTATE_X87 ? 0 : 160;
		*ret_len = component == XSTATE_X87 ? 160 : 256;
		return true;
	}
	if (component >= XSTATE_COUNT)
		return false;
	/* the leaf is there; asking costs an exit to the host in a virtual machine */
	__cpuid_count(0xd, component, a, b, c, d);
	/* bit 0 of ecx: a supervisor component, which has no place in this layout */
	if (!a || c & 1 || b < XSTATE_MIN || (size_t)b + a > XSTATE_MAX)
		return false;
	*ret_offset = b;
	*ret_len = a;
	return true;
}

size_t xstate_size(uint64_t mask)
{
	size_t size = XSTATE_MIN;

	for (unsigned i = XSTATE_AVX; i < XSTATE_COUNT; i++) {
		size_t off, len;

		if (mask >> i & 1 && xstate_place(i, &off, &len) && off + len > size)
			size = off + len;
	}
	return size;
}

const char *xstate_name(unsigned component)
{
	static const char *const names[] = { "x87 registers", "SSE registers", "AVX registers",
		"MPX bound registers", "MPX configuration", "AVX-512 mask registers",
		"AVX-512 upper halves of zmm0 to zmm15", "AVX-512 registers zmm16 to zmm31",
		"processor trace state", "protection keys register", "PASID state",
		"user shadow stack state", "supervisor shadow stack state", "HDC state",
		"user interrupts state", "last branch records", "hardware P-states",
		"AMX tile configuration", "AMX tile data", "APX registers" };

	if (component >= sizeof(names) / sizeof(*names))
		return "unknown processor registers";
	return names[component];
}
