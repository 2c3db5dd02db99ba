// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every built-in filter by itself: what it encodes it decodes, also after training; what was changed
 * it refuses or at least survives; and encrypted bytes belong to their extent only.
 */
#include "base/crew.h"
#include "pages/builtin.h"
#include "pages/filter.h"
#include "tests/unit/tap.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = TORPOR_FILTER_EXTENT_MAX + TORPOR_FILTER_EXPANSION_MAX, SAMPLE = 16384, SAMPLES = 64 };

struct bench {
	struct tap tap;
	uint8_t *plain, *stored, *back;
	uint64_t random;
};

static const uint8_t key[TORPOR_FILTER_KEY] = { 1, 2, 3 };

static uint64_t next_random(struct bench *b)
{
	b->random = b->random * 6364136223846793005u + 1442695040888963407u;
	return b->random >> 33;
}

enum content { SAME_BYTE, TEXT, NOISE };

static void make_content(struct bench *b, enum content content, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t r = next_random(b);

		b->plain[i] = content == SAME_BYTE ? 7 : content == NOISE ? (uint8_t)r : 'a' + (r % 90) / 30;
	}
}

static struct torpor_extent an_extent(size_t len)
{
	return (struct torpor_extent){ .dump = "0123456789abcde", .object = 42, .address = 0x7000,
		.serial = 5, .kind = TORPOR_OBJECT_TASK, .generation = 1, .length = (uint32_t)len };
}

struct opened {
	const struct torpor_page_filter *filter;
	void *state, *worker;
};

static int open_filter(struct opened *o, const struct torpor_page_filter *f, const char *options,
	const void *params, size_t params_len)
{
	struct torpor_filter_setup setup = { .options = options, .params = params,
		.params_len = params_len, .key = f->caps & TORPOR_FILTER_NEEDS_KEY ? key : NULL };
	int r;

	*o = (struct opened){ .filter = f };
	r = f->open(&setup, &o->state);
	if (r == 0 && f->worker_open)
		r = f->worker_open(o->state, &o->worker);
	else
		o->worker = o->state;
	return r;
}

static void close_filter(struct opened *o)
{
	if (o->filter->worker_close)
		o->filter->worker_close(o->worker);
	o->filter->close(o->state);
}

/* Encoded length, or -E2BIG where it did not shrink. */
static int64_t encode(struct bench *b, struct opened *o, const struct torpor_extent *x)
{
	const struct torpor_page_filter *f = o->filter;
	size_t room = f->caps & TORPOR_FILTER_ALWAYS ? x->length + f->expansion : x->length - 1;

	return f->encode(o->worker, x, b->plain, x->length, b->stored, room);
}

static bool decodes(struct bench *b, struct opened *o, const struct torpor_extent *x, int64_t n)
{
	int64_t got;

	memset(b->back, 0xa5, x->length);
	got = o->filter->decode(o->worker, x, b->stored, (size_t)n, b->back, x->length);
	return got == (int64_t)x->length && !memcmp(b->back, b->plain, x->length);
}

static void check_round_trip(struct bench *b, struct opened *o)
{
	static const size_t pages[] = { 1, 2, 31, 32, 64 };
	bool good = true, always = o->filter->caps & TORPOR_FILTER_ALWAYS;
	char what[100];

	for (int content = SAME_BYTE; content <= NOISE; content++) {
		for (size_t i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
			struct torpor_extent x = an_extent(pages[i] * PAGE);
			int64_t n;

			make_content(b, (enum content)content, x.length);
			n = encode(b, o, &x);
			if (n == -E2BIG && !always)
				continue;
			good = good && n > 0 && decodes(b, o, &x, n);
		}
	}
	snprintf(what, sizeof(what), "%s: back and forth", o->filter->name);
	tap_ok(&b->tap, good, what, NULL);
}

/* Every byte of a short result flipped, every length, and other extents. */
static void check_changes(struct bench *b, struct opened *o)
{
	struct torpor_extent x = an_extent(PAGE), y;
	bool strict = o->filter->caps & TORPOR_FILTER_ALWAYS, good = true;
	char what[100];
	int64_t n;

	make_content(b, TEXT, x.length);
	if (!strcmp(o->filter->name, "zero"))
		make_content(b, SAME_BYTE, x.length);
	n = encode(b, o, &x);
	for (int64_t i = 0; i < n; i++) {
		b->stored[i] ^= 0x40;
		if (decodes(b, o, &x, n) && strict)
			good = false;
		b->stored[i] ^= 0x40;
	}
	for (int64_t i = 0; i < n; i++)
		good = good && !decodes(b, o, &x, i);
	snprintf(what, sizeof(what), "%s: changed and cut bytes", o->filter->name);
	tap_ok(&b->tap, good && n > 0, what, NULL);
	if (!strict)
		return;
	for (size_t i = 0; i < sizeof(x); i++) {
		y = x;
		((uint8_t *)&y)[i] ^= 1;
		/* another length is another call, not another extent */
		y.length = x.length;
		if (memcmp(&x, &y, sizeof(x)))
			good = good && !decodes(b, o, &y, n);
	}
	snprintf(what, sizeof(what), "%s: bytes of another extent", o->filter->name);
	tap_ok(&b->tap, good, what, NULL);
}

static void check_filter(struct bench *b, const struct torpor_page_filter *f, const char *options)
{
	struct opened o;
	int r = open_filter(&o, f, options, NULL, 0);

	tap_ok(&b->tap, r == 0, f->name, NULL);
	if (r < 0)
		return;
	check_round_trip(b, &o);
	check_changes(b, &o);
	close_filter(&o);
}

static void check_options(struct bench *b)
{
	static const struct {
		const struct torpor_page_filter *filter;
		const char *options;
		bool good;
	} cases[] = {
		{ &page_filter_lz4, "8", true }, { &page_filter_lz4, "0", false },
		{ &page_filter_lz4, "x", false }, { &page_filter_lz4, "99999999", false },
		{ &page_filter_zstd, "19", true }, { &page_filter_zstd, "-7", true },
		{ &page_filter_zstd, "99", false }, { &page_filter_zstd, "dict", true },
		{ &page_filter_zstd, "3,dict", true }, { &page_filter_zstd, "3,dict,", false },
		{ &page_filter_zstd, "3x", false }, { &page_filter_zero, "1", false },
		{ &page_filter_aes_gcm, "key=1", false }, { &page_filter_digest, "1", false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct opened o;
		bool opened = open_filter(&o, cases[i].filter, cases[i].options, NULL, 0) == 0;
		char what[100];

		snprintf(what, sizeof(what), "%s:%s is %s", cases[i].filter->name, cases[i].options,
			cases[i].good ? "accepted" : "refused");
		tap_ok(&b->tap, opened == cases[i].good, what, NULL);
		if (opened)
			close_filter(&o);
	}
}

/* Records alike: a dictionary makes single pages of them much shorter. */
static void make_records(struct bench *b, uint8_t *to, size_t len)
{
	static const char *const words[] = { "status=", "delivered;", "customer=", "address=",
		"street of the long name ", "remark=none;", "quantity=", "internal-identifier-" };
	size_t at = 0;

	while (at < len) {
		const char *word = words[next_random(b) % 8];
		size_t n = strlen(word) < len - at ? strlen(word) : len - at;

		memcpy(to + at, word, n);
		at += n;
		for (int i = 0; i < 4 && at < len; i++)
			to[at++] = (uint8_t)('0' + next_random(b) % 10);
	}
}

static void check_dictionary(struct bench *b)
{
	const struct torpor_page_filter *f = &page_filter_zstd;
	uint8_t *samples = malloc(SAMPLES * SAMPLE);
	struct torpor_extent x = an_extent(PAGE);
	size_t sizes[SAMPLES], len = 0;
	struct opened plain, trained, restored = { 0 };
	const void *params = NULL;
	int64_t n = 0, without = 0;
	int r;

	for (int i = 0; i < SAMPLES; i++) {
		sizes[i] = SAMPLE;
		make_records(b, samples + i * SAMPLE, SAMPLE);
	}
	make_records(b, b->plain, x.length);
	r = open_filter(&plain, f, "3", NULL, 0);
	without = encode(b, &plain, &x);
	r = r < 0 ? r : open_filter(&trained, f, "3,dict", NULL, 0);
	if (r == 0)
		r = f->train(trained.state, samples, sizes, SAMPLES);
	if (r == 0)
		params = f->params(trained.state, &len);
	n = encode(b, &trained, &x);
	if (r == 0)
		r = open_filter(&restored, f, NULL, params, len);
	tap_ok(&b->tap, r == 0 && params && len, "zstd: trained", NULL);
	tap_ok(&b->tap, n > 0 && n < without, "zstd: a dictionary shortens a page", NULL);
	tap_ok(&b->tap, restored.state && decodes(b, &restored, &x, n), "zstd: by its dictionary", NULL);
	tap_ok(&b->tap, !decodes(b, &plain, &x, n), "zstd: not without it", NULL);
	close_filter(&plain);
	close_filter(&trained);
	close_filter(&restored);
	free(samples);
}

/* ---- the crew ---- */

struct count_job {
	struct job job;
	int value;
};

static void count(struct job *job, unsigned worker)
{
	((struct count_job *)job)->value += 1 + (worker > CREW_MOST);
}

static void check_crew(struct bench *b)
{
	static struct count_job jobs[1000];
	struct crew *c = crew_new(NULL);
	bool good = true;

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < 1000; i++) {
			jobs[i].job.run = count;
			crew_give(c, &jobs[i].job);
		}
		for (size_t i = 1000; i-- > 0;) {
			crew_wait(c, &jobs[i].job);
			good = good && jobs[i].value == round + 1;
		}
	}
	crew_free(c);
	tap_ok(&b->tap, good, "a crew does each job once", NULL);
}

int main(void)
{
	struct bench b = { .plain = malloc(ROOM), .stored = malloc(ROOM), .back = malloc(ROOM) };

	for (size_t i = 0; page_filters[i]; i++)
		check_filter(&b, page_filters[i], NULL);
	check_filter(&b, &page_filter_zstd, "-7");
	check_filter(&b, &page_filter_lz4, "32");
	check_options(&b);
	check_dictionary(&b);
	check_crew(&b);
	free(b.plain);
	free(b.stored);
	free(b.back);
	return tap_done(&b.tap);
}
