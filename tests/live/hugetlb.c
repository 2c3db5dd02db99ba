/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hugetlb: private and shared huge pages. */
#include "subject.h"

#define HUGE (2ul << 20)

int main(int argc, char **argv)
{
	const int rw = PROT_READ | PROT_WRITE;
	const int kind = MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;
	uint8_t *private, *shared;
	char line[128];

	subject_init(argc, argv);
	private = mmap(NULL, 3 * HUGE, rw, MAP_PRIVATE | kind, -1, 0);
	if (private == MAP_FAILED)
		skip("no huge pages: %s (sysctl vm.nr_hugepages)", strerror(errno));
	shared = mmap(NULL, 2 * HUGE, rw, MAP_SHARED | kind, -1, 0);
	if (shared == MAP_FAILED)
		skip("not enough huge pages: %s (sysctl vm.nr_hugepages)", strerror(errno));
	fill(private, HUGE, 1);
	fill(private + 2 * HUGE, HUGE, 2);
	fill(shared, HUGE, 3);
	ready();
	wait_term();
	CHECK(holds(private, HUGE, 1));
	CHECK(all_zero(private + HUGE, HUGE));
	CHECK(holds(private + 2 * HUGE, HUGE, 2));
	CHECK(holds(shared, HUGE, 3));
	CHECK(smaps_line(getpid(), private, "VmFlags", line, sizeof(line)) && strstr(line, " ht"));
	CHECK(smaps_line(getpid(), shared, "VmFlags", line, sizeof(line)) && strstr(line, " ht"));
	pass();
}
