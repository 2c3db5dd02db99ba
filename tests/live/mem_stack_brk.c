/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_stack_brk: the stack grows on, of the first thread and of an area made with MAP_GROWSDOWN; the
 * heap grows and shrinks where it was.
 */
#include "subject.h"

static __attribute__((noinline)) uint64_t dig(int depth)
{
	volatile uint64_t frame[1024];

	for (int i = 0; i < 1024; i++)
		frame[i] = depth * 1024 + i;
	if (depth > 0)
		frame[0] += dig(depth - 1);
	return frame[0] + frame[1023];
}

int main(int argc, char **argv)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN;
	uint64_t on_stack[512], *start, *end, deep, *grows;
	char line[128];

	subject_init(argc, argv);
	fill(on_stack, sizeof(on_stack), 11);
	start = sbrk(0);
	NEED((uintptr_t)start % 8 == 0);
	NEED(brk((char *)start + (1 << 20)) == 0);
	fill(start, 1 << 20, 12);
	grows = mmap((void *)0x200000000000, 8192, PROT_READ | PROT_WRITE, flags, -1, 0);
	NEED(grows != MAP_FAILED);
	fill(grows, 8192, 13);
	deep = dig(20);
	ready();
	wait_term();
	CHECK(holds(on_stack, sizeof(on_stack), 11));
	end = sbrk(0);
	CHECK((char *)end == (char *)start + (1 << 20));
	CHECK(holds(start, 1 << 20, 12));
	CHECK(brk((char *)start + (2 << 20)) == 0);
	CHECK(all_zero((char *)start + (1 << 20), 1 << 20));
	fill(start, 2 << 20, 14);
	CHECK(holds(start, 2 << 20, 14));
	CHECK(brk(start) == 0);
	CHECK(sbrk(0) == start);
	CHECK(dig(20) == deep);
	CHECK(dig(500) != 0); /* 4 MiB more than before */
	CHECK(smaps_line(getpid(), on_stack, "VmFlags", line, sizeof(line)) && strstr(line, " gd"));
	CHECK(holds(grows, 8192, 13));
	CHECK(smaps_line(getpid(), grows, "VmFlags", line, sizeof(line)) && strstr(line, " gd"));
	for (volatile uint8_t *p = (uint8_t *)grows - 1; p > (uint8_t *)grows - 40000; p -= 1000)
		*p = 1;
	pass();
}
