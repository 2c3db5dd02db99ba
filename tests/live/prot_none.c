/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prot_none: terabytes of reserved address space cost nothing; islands in it hold data. */
#include "subject.h"

#define TIB (1ul << 40)

int main(int argc, char **argv)
{
	const int reserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uint8_t *none, *lazy;

	subject_init(argc, argv);
	none = map(16 * TIB, PROT_NONE, reserve);
	lazy = mmap(NULL, 4 * TIB, PROT_READ | PROT_WRITE, reserve, -1, 0);
	if (lazy == MAP_FAILED)
		skip("no 4 TiB of address space can be reserved: %s", strerror(errno));
	for (int i = 0; i < 16; i++) {
		uint8_t *p = none + i * TIB + (i << 21);

		NEED(mprotect(p, 8192, PROT_READ | PROT_WRITE) == 0);
		fill(p, 4096, i);
	}
	for (int i = 0; i < 64; i++)
		fill(lazy + i * (TIB / 16), 4096, 100 + i);
	ready();
	wait_term();
	for (int i = 0; i < 16; i++) {
		CHECK(holds(none + i * TIB + (i << 21), 4096, i));
		CHECK(all_zero(none + i * TIB + (i << 21) + 4096, 4096));
	}
	for (int i = 0; i < 64; i++)
		CHECK(holds(lazy + i * (TIB / 16), 4096, 100 + i));
	CHECK(key_value("/proc/self/status", "VmRSS") < 20000);
	CHECK(key_value("/proc/self/status", "VmSize") > 20l << 30);
	pass();
}
