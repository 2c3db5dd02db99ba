/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * extents: a few MiB of private memory, parts of it easy to compress and parts not, which are looked
 * at again and again. So there are extents of many sizes, and a page with another content than before
 * does not go unnoticed. For test_attacks.py.
 */
#include "subject.h"

enum { LEN = 3 << 20, PART = 48 << 10 };

/* Behind the first MiB every other part has words that repeat. */
static void part_fill(uint8_t *part, uint64_t seed)
{
	fill(part, PART, seed);
	for (size_t i = 0; seed % 2 && seed > (1 << 20) / PART && i < PART; i++)
		part[i] = 'a' + part[i] % 3;
}

static bool part_holds(const uint8_t *part, uint64_t seed)
{
	static uint8_t want[PART];

	part_fill(want, seed);
	return memcmp(part, want, PART) == 0;
}

int main(int argc, char **argv)
{
	sigset_t term, old;
	uint8_t *p;

	subject_init(argc, argv);
	p = map(LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	for (size_t i = 0; i < LEN / PART; i++)
		part_fill(p + i * PART, i);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	ready();
	NEED(sigprocmask(SIG_UNBLOCK, &term, &old) == 0);
	for (size_t i = 0; !subject_term || i % (LEN / PART); i++) {
		size_t at = i % (LEN / PART);

		if (!part_holds(p + at * PART, at))
			fail("part %zu has another content", at);
		if (!at)
			usleep(1000);
	}
	pass();
}
