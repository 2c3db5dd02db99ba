// SPDX-License-Identifier: GPL-2.0-or-later
/* The parser of smaps on recorded, damaged and mutated texts. */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/vec.h"
#include "kernel/smaps.h"
#include "tests/unit/tap.h"
#include <string.h>
#include <sys/mman.h>

static const char recorded[] =
	"55788cd26000-55788cd27000 r--p 00002000 fe:00 10953055                   /tmp/a b (deleted)\n"
	"Size:                  4 kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n"
	"Rss:                   4 kB\nAnonymous:             0 kB\nSwap:                  0 kB\n"
	"THPeligible:           0\nVmFlags: rd mr mw me zz \n"
	"7f2b65300000-7f2b65400000 rw-p 00000000 00:00 0 \n"
	"Size:               1024 kB\nKernelPageSize:        4 kB\nRss:                   0 kB\n"
	"Swap:                  8 kB\nVmFlags: rd wr mr mw me lo lf rr nh dd sl \n"
	"7f2b65400000-7f2b65600000 rw-s 00000000 00:0f 77 /anon_hugepage (deleted)\n"
	"KernelPageSize:     2048 kB\nRss: 0 kB\nShared_Hugetlb:     2048 kB\nVmFlags: rd wr sh mr mw ht \n"
	"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
	"Rss:                   0 kB\nVmFlags: ex \n";

struct areas vec_of(struct smaps_area);

static int keep(const struct smaps_area *a, void *data, struct err *err)
{
	struct areas *v = data;

	vec_push(v, *a);
	return 0;
}

static int refuse_second(const struct smaps_area *a, void *data, struct err *err)
{
	return ++*(int *)data == 2 ? err_bug(err, "enough") : 0;
}

static void test_recorded(struct tap *t)
{
	struct areas v = { 0 };
	struct err err = ERR_INIT;
	const struct smaps_area *a;
	int n = 0;
	bool good = smaps_parse(recorded, sizeof(recorded) - 1, "text", keep, &v, &err) == 0;

	tap_ok(t, good && v.n == 4, "a recorded text has its four areas", &err);
	if (v.n != 4)
		return;
	a = &v.at[0];
	tap_ok(t, a->start == 0x55788cd26000 && a->end == 0x55788cd27000 && a->offset == 0x2000 &&
			a->inode == 10953055 && a->dev_major == 0xfe && !a->dev_minor &&
			a->prot == PROT_READ && !a->shared && a->resident && a->page_size == 4096 &&
			a->flags == VMF_MAYWRITE && !strcmp(a->name, "/tmp/a b (deleted)"),
		"a file with a blank in its name", NULL);
	a = &v.at[1];
	tap_ok(t, a->prot == (PROT_READ | PROT_WRITE) && a->resident && !*a->name &&
			a->flags == (VMF_MAYWRITE | VMF_LOCKED | VMF_LOCKONFAULT | VMF_RAND_READ |
					    VMF_NOHUGEPAGE | VMF_DONTDUMP | VMF_SEALED),
		"flags of a swapped anonymous area", NULL);
	a = &v.at[2];
	tap_ok(t, a->shared && a->resident && a->page_size == 2 << 20 && a->flags & VMF_HUGETLB,
		"huge pages", NULL);
	a = &v.at[3];
	tap_ok(t, a->start == 0xffffffffff600000 && a->prot == PROT_EXEC && !a->resident &&
			!strcmp(a->name, "[vsyscall]"),
		"the vsyscall page", NULL);
	vec_done(&v);
	tap_ok(t, smaps_parse(recorded, sizeof(recorded) - 1, "text", refuse_second, &n, &err) < 0 &&
			n == 2,
		"a callback ends the walk", NULL);
}

static void test_damaged(struct tap *t)
{
	static const char *const bad[] = {
		"1000-2000\n",
		"1000-2000 r--p\n",
		"2000-1000 r--p 00000000 00:00 0\n",
		"1000-1000 r--p 00000000 00:00 0\n",
		"1000-3000 r--p 00000000 00:00 0\n2000-4000 r--p 00000000 00:00 0\n",
		"11111111111111111-2 r--p 00000000 00:00 0\n",
		"1000-2000 r--px 00000000 00:00 0\n",
		"zzz\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct areas v = { 0 };
		struct err err = ERR_INIT;
		int rc = smaps_parse(bad[i], strlen(bad[i]), "text", keep, &v, &err);

		tap_ok(t, rc < 0 && err_is_set(&err), "a damaged header is an error", NULL);
		vec_done(&v);
	}
}

/* Every cut and a change of every byte: an answer or an error, never a crash. */
static void test_mutated(struct tap *t)
{
	char text[sizeof(recorded)];
	size_t ends = 0;

	for (size_t i = 0; i < sizeof(recorded); i++) {
		struct areas v = { 0 };
		struct err err = ERR_INIT;

		memcpy(text, recorded, sizeof(text));
		ends += smaps_parse(text, i, "text", keep, &v, &err) == 0 || err_is_set(&err);
		err_clear(&err);
		text[i] ^= (char)(1u << i % 8);
		ends += smaps_parse(text, sizeof(text) - 1, "text", keep, &v, &err) == 0 ||
			err_is_set(&err);
		vec_done(&v);
	}
	tap_ok(t, ends == 2 * sizeof(recorded), "mutated texts end in an answer or an error", NULL);
}

static void test_own(struct tap *t)
{
	struct areas smaps = { 0 }, maps = { 0 };
	struct err err = ERR_INIT;
	auto_free char *text = NULL;
	size_t len = 0;
	int rc = smaps_walk(getpid(), keep, &smaps, &err);

	tap_ok(t, rc == 0 && smaps.n > 5, "our own smaps", &err);
	rc = io_slurp("/proc/self/maps", &text, &len);
	if (rc == 0)
		rc = smaps_parse(text, len, "maps", keep, &maps, &err);
	tap_ok(t, rc == 0 && maps.n > 5 && maps.at[0].start == smaps.at[0].start &&
			!strcmp(maps.at[0].name, smaps.at[0].name),
		"a text of maps parses, too", &err);
	vec_done(&smaps);
	vec_done(&maps);
}

int main(void)
{
	struct tap t = { 0 };

	test_recorded(&t);
	test_damaged(&t);
	test_mutated(&t);
	test_own(&t);
	return tap_done(&t);
}
