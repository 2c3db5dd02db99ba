/* SPDX-License-Identifier: GPL-2.0-or-later */
/* areas60000: 60,000 areas (or as many as argv[2] says) with alternating protection in one process. */
#include "subject.h"

#define PAGE 4096ul

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[2]) : 60000;
	long limit;
	char buf[32];
	uint8_t *p;

	subject_init(argc, argv);
	slurp("/proc/sys/vm/max_map_count", buf, sizeof(buf));
	limit = atol(buf);
	if (limit < n + 100)
		skip("vm.max_map_count is %ld, %d are needed", limit, n + 100);
	p = map(n * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS);
	for (int i = 0; i < n; i += 2)
		NEED(mprotect(p + i * PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	for (int i = 0; i < n; i += 100)
		*(uint64_t *)(p + i * PAGE) = i + 1;
	ready();
	wait_term();
	for (int i = 0; i < n; i++)
		if (*(uint64_t *)(p + i * PAGE) != (i % 100 ? 0u : i + 1u))
			fail("area %d holds %lx", i, *(uint64_t *)(p + i * PAGE));
	for (int i = 0; i < n; i += 2)
		p[i * PAGE + 9] = 1;
	pass();
}
