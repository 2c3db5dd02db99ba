/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mem_private: private anonymous memory: sparse contents, all kinds of protection, pages that were
 * written and are read-only now, pages only read (zero page), code written at run time, a large
 * area, odd neighbours; the list of areas stays the same.
 */
#include "subject.h"

#define PAGE 4096ul
enum { SPARSE = 4096, BIG = 48 << 20 };

static char before[1 << 16], after[1 << 16];

/* /proc/self/maps without what may change on its own. */
static void maps_note(char *buf, size_t size)
{
	slurp("/proc/self/maps", buf, size);
}

static void maps_compare(void)
{
	char *a = before, *b = after;

	while (*a && *b) {
		size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");

		if (la != lb || memcmp(a, b, la))
			fail("area '%.*s' was '%.*s'", (int)lb, b, (int)la, a);
		a += la + 1;
		b += lb + 1;
	}
	CHECK(!*a && !*b);
}

static long rss_kb(const void *addr)
{
	char buf[64];

	NEED(smaps_line(getpid(), addr, "Rss", buf, sizeof(buf)));
	return atol(buf);
}

int main(int argc, char **argv)
{
	static uint64_t data[1024] = { 1, 2, 3 }, bss[100000];
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE,
		PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC };
	const int rw = PROT_READ | PROT_WRITE, private = MAP_PRIVATE | MAP_ANONYMOUS;
	uint8_t *sparse, *big, *ro, *read_only_touched, *code, *parts, *heap;
	volatile uint8_t sink = 0;
	long sparse_rss;

	subject_init(argc, argv);
	fill(data, sizeof(data), 1);
	fill(bss, sizeof(bss) / 2, 2);
	heap = malloc(300000);
	NEED(heap);
	fill(heap, 300000 & ~7, 3);
	sparse = map(SPARSE * PAGE, rw, private);
	for (int i = 0; i < SPARSE; i += 7)
		if (i % 21)
			fill(sparse + i * PAGE, PAGE, i);
		else
			sparse[i * PAGE] = 0; /* present, but full of zeros */
	big = map(BIG, rw, private);
	fill(big, BIG, 4);
	ro = map(16 * PAGE, rw, private);
	fill(ro, 16 * PAGE, 5);
	NEED(mprotect(ro, 16 * PAGE, PROT_READ) == 0);
	read_only_touched = map(16 * PAGE, PROT_READ, private);
	for (int i = 0; i < 16; i++)
		sink += read_only_touched[i * PAGE];
	code = map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, private);
	memcpy(code, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
	NEED(mprotect(code, PAGE, PROT_EXEC) == 0);
	parts = map(50 * PAGE, rw, private);
	fill(parts, 50 * PAGE, 6);
	for (int i = 0; i < 50; i += 2)
		NEED(mprotect(parts + i * PAGE, PAGE, prots[i / 2 % 5]) == 0);
	NEED(munmap(parts + 49 * PAGE, PAGE) == 0);
	sparse_rss = rss_kb(sparse);
	maps_note(before, sizeof(before));
	ready();
	wait_term();
	maps_note(after, sizeof(after));
	maps_compare();
	if (rss_kb(sparse) > sparse_rss)
		fail("sparse area takes %ld kB, not %ld", rss_kb(sparse), sparse_rss);
	CHECK(holds(data, sizeof(data), 1));
	CHECK(holds(bss, sizeof(bss) / 2, 2));
	CHECK(all_zero((char *)bss + sizeof(bss) / 2, sizeof(bss) / 2));
	CHECK(holds(heap, 300000 & ~7, 3));
	for (int i = 0; i < SPARSE; i++)
		if (i % 7 == 0 && i % 21)
			CHECK(holds(sparse + i * PAGE, PAGE, i));
		else
			CHECK(all_zero(sparse + i * PAGE, PAGE));
	CHECK(holds(big, BIG, 4));
	CHECK(holds(ro, 16 * PAGE, 5));
	CHECK(all_zero(read_only_touched, 16 * PAGE));
	SAME(((int (*)(void))(void *)code)(), 42);
	NEED(mprotect(parts, 49 * PAGE, PROT_READ) == 0);
	CHECK(holds(parts, 49 * PAGE, 6));
	sparse[SPARSE / 2 * PAGE + 1] = 1; /* and it can be written */
	pass();
}
