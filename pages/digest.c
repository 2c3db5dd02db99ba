// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/digest.h"
#include "pages/batch.h"
#include "proto/messages.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

enum { DIGEST = 16 };

static const char digest_name[] = "xxh3-128";

struct digest_reader {
	struct arena *arena;
	struct pagemap map;
	struct image_reader *image;
	uint64_t seed;
	size_t at; /* the run that is read */
	uint64_t done; /* pages of it that are behind us */
};

static enum image_id digest_type(enum image_id pagemap)
{
	return pagemap == IMG_PAGEMAP_SHMEM ? IMG_TORPOR_DIGEST_SHMEM : IMG_TORPOR_DIGEST;
}

static void digest_of(const uint8_t *page, uint64_t seed, uint8_t ret[DIGEST])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(page, PAGE, seed));
	memcpy(ret, canonical.digest, DIGEST);
}

/* ------------------------------------------------------------------------- those of the parent */

/* Whether the image, whose head this is, belongs to the pagemap that was loaded. */
static bool fits(const struct digest_reader *r, const TorporDigestHead *head, const char *run_id)
{
	uint64_t pages = 0;

	for (size_t i = 0; i < r->map.n; i++)
		pages += r->map.runs[i].pages;
	return !strcmp(head->run_id, run_id) && !strcmp(head->digest, digest_name) &&
		image_left(r->image) == pages * DIGEST;
}

int digest_reader_open(struct image_set *set, enum image_id type, unsigned long id,
	const char *run_id, struct digest_reader **ret, struct err *err)
{
	struct digest_reader *r = calloc(1, sizeof(*r));
	TorporDigestHead *head;
	int got;

	*ret = NULL;
	if (!r)
		return err_nomem(err);
	r->arena = arena_new();
	got = pagemap_load_told(set, type, id, r->arena, &r->map, err);
	if (got == 0 && run_id)
		got = image_open(set, digest_type(type), id, &r->image, err);
	if (got == 0 && r->image)
		got = image_next(r->image, r->arena, &head, err);
	if (got > 0 && fits(r, head, run_id)) {
		r->seed = head->seed;
		*ret = r;
		return 0;
	}
	digest_reader_close(r);
	return got < 0 ? got : 0;
}

void digest_reader_close(struct digest_reader *r)
{
	if (!r)
		return;
	image_reader_close(r->image);
	arena_free(r->arena);
	free(r);
}

/* Reads the digest of the page at vaddr: 1, or 0 if the parent has no such page. */
static int read_digest(struct digest_reader *r, uint64_t vaddr, uint8_t ret[DIGEST], struct err *err)
{
	const struct run *run = NULL;
	uint64_t page;
	int rc = 0;

	for (; r->at < r->map.n; r->at++, r->done = 0) {
		run = &r->map.runs[r->at];
		if (run->vaddr + run->pages * PAGE > vaddr)
			break;
		rc = image_skip(r->image, (run->pages - r->done) * DIGEST, err);
		if (rc < 0)
			return rc;
	}
	if (r->at == r->map.n || run->vaddr > vaddr)
		return 0;
	page = (vaddr - run->vaddr) / PAGE;
	if (page < r->done)
		return err_bug(err, "digests are asked for in disorder at 0x%lx", vaddr);
	rc = image_skip(r->image, (page - r->done) * DIGEST, err);
	if (rc == 0)
		rc = image_payload(r->image, ret, DIGEST, err);
	r->done = page + 1;
	return rc < 0 ? rc : 1;
}

/* -------------------------------------------------------------------------------- the feed */

/* Decides about the page whose bytes are at `from`, and moves them to the end of what stays. */
static int judge(struct digest_feed *f, struct batch *b, const uint8_t *from, uint64_t vaddr,
	uint32_t flags, struct err *err)
{
	uint8_t now[DIGEST], then[DIGEST];
	int there = 0;

	digest_of(from, f->seed, now);
	if (f->out && image_put_payload(f->out, now, DIGEST, err) < 0)
		return -err->number;
	if (f->before)
		there = read_digest(f->before, vaddr, then, err);
	if (there < 0)
		return there;
	if (there && !memcmp(now, then, DIGEST)) {
		batch_add_run(b, vaddr, 1, RUN_PARENT);
		f->skipped++;
		return 0;
	}
	if (b->bytes + b->len != from)
		memmove(b->bytes + b->len, from, PAGE);
	batch_add_page(b, vaddr, flags);
	return 0;
}

static int digest_next(struct page_feed *base, struct batch *b, struct err *err)
{
	struct digest_feed *f = (struct digest_feed *)base;
	struct run runs[BATCH_RUNS];
	const uint8_t *from = b->bytes;
	size_t n;
	int rc = f->inner->next(f->inner, b, err);

	if (rc <= 0)
		return rc;
	n = b->n_runs;
	memcpy(runs, b->runs, n * sizeof(*runs));
	b->n_runs = 0;
	b->len = 0;
	for (size_t i = 0; i < n; i++) {
		if (!(runs[i].flags & RUN_PRESENT)) {
			if (f->out)
				return err_bug(err, "a page without bytes has no digest");
			batch_add_run(b, runs[i].vaddr, runs[i].pages, runs[i].flags);
			continue;
		}
		for (uint64_t k = 0; k < runs[i].pages; k++, from += PAGE) {
			rc = judge(f, b, from, runs[i].vaddr + k * PAGE, runs[i].flags, err);
			if (rc < 0)
				return rc;
		}
	}
	return 1;
}

static int create_image(struct digest_feed *f, struct image_set *set, enum image_id type,
	unsigned long id, const char *run_id, struct err *err)
{
	TorporDigestHead head = TORPOR_DIGEST_HEAD__INIT;
	int r = image_create(set, digest_type(type), id, &f->out, err);

	if (r < 0)
		return r;
	head.run_id = (char *)run_id;
	head.digest = (char *)digest_name;
	head.seed = f->seed;
	return image_put(f->out, &head, err);
}

int digest_feed_open(struct digest_feed *f, struct page_feed *inner, const struct digest_plan *plan,
	struct image_set *set, enum image_id type, unsigned long id, struct err *err)
{
	int r = 0;

	*f = (struct digest_feed){ .base = { digest_next }, .inner = inner };
	if (plan->before)
		r = digest_reader_open(plan->before, type, id, plan->before_run_id, &f->before, err);
	if (f->before)
		f->seed = f->before->seed;
	else if (r == 0 && getrandom(&f->seed, sizeof(f->seed), 0) != sizeof(f->seed))
		r = err_sys(err, "the kernel gives no random bytes");
	if (r == 0 && plan->keep)
		r = create_image(f, set, type, id, plan->run_id, err);
	if (r < 0)
		digest_reader_close(f->before);
	return r;
}

int digest_feed_close(struct digest_feed *f, struct err *err)
{
	struct image_writer *out = f->out;

	digest_reader_close(f->before);
	f->out = NULL;
	f->before = NULL;
	return image_finish(out, err);
}
