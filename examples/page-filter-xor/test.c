/* SPDX-License-Identifier: MIT */
/* Loads the filter as torpor does and sends an extent through it and back. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <torpor/page_filter.h>

enum { LEN = 2 * TORPOR_FILTER_PAGE };

static int failed;

static void expect(int good, const char *what)
{
	printf("%sok - %s\n", good ? "" : "not ", what);
	failed |= !good;
}

int main(int argc, char **argv)
{
	static uint8_t in[LEN], out[LEN], back[LEN];
	struct torpor_filter_setup dump = { .options = "7" }, restore = { 0 }, bad = { .options = "x" };
	struct torpor_extent x = { .length = LEN };
	const struct torpor_page_filter *f;
	void *object, *state = NULL, *other = NULL;

	object = dlopen(argc > 1 ? argv[1] : "./xor.so", RTLD_NOW);
	f = object ? dlsym(object, TORPOR_PAGE_FILTER_SYMBOL) : NULL;
	if (!f) {
		printf("not ok - %s\n", dlerror());
		return 1;
	}
	for (int i = 0; i < LEN; i++)
		in[i] = (uint8_t)(i * 13);
	expect(f->abi == TORPOR_PAGE_FILTER_ABI && f->size == sizeof(*f), "the version");
	expect(f->open(&bad, &state) < 0 && *bad.error, "wrong options are named");
	expect(f->open(&dump, &state) == 0, "opened for a dump");
	expect(f->encode(state, &x, in, LEN, out, LEN) == LEN && memcmp(in, out, LEN), "encoded");
	restore.params = f->params(state, &restore.params_len);
	expect(f->open(&restore, &other) == 0, "opened by its params for a restore");
	expect(f->decode(other, &x, out, LEN, back, LEN) == LEN && !memcmp(in, back, LEN), "decoded");
	expect(f->decode(other, &x, out, LEN, back, LEN - 1) < 0, "no more than the room");
	f->close(state);
	f->close(other);
	dlclose(object);
	return failed;
}
