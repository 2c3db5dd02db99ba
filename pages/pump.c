// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From feed to sink. Reading another process's memory costs about as much as writing it to a file,
 * so both go on at the same time when there is much to move: on two processors a dump of 1 GiB
 * takes 0.34 s instead of 0.51. What to do about a third and fourth memory copy (huge pages,
 * direct I/O, the target writing its own pages) was measured and does not pay: writing into the
 * page cache bounds all of them, and one more thread hides the reading. Nor does reading straight
 * into a mapping of the file: one copy less, but 0.53 s of processor time for 512 MiB on a tmpfs
 * instead of 0.36, as the new pages are zeroed and mapped.
 *
 * A ring of batches: [drained, filled) belong to the writer, the others to the reader. Between
 * them, for a sink with filters, a crew encodes the extents of the filled ones; the writer waits
 * for each in turn, so the order stays. Threads are started when a second full batch follows the
 * first, so that small tasks never pay for it.
 */
#include "base/cleanup.h"
#include "base/crew.h"
#include "base/interrupt.h"
#include "base/io.h"
#include "pages/batch.h"
#include "pages/filter.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

enum { RING = 4, EXTENTS = BATCH_BYTES / EXTENT_BYTES + 1 };

struct pump;

/* Encoding of one extent. */
struct coding {
	struct job job;
	struct pump *pump;
	struct slot *slot;
	struct extent *extent; /* in the slot's batch */
	struct torpor_extent id;
	int failed; /* negative errno */
	struct err err;
};

struct slot {
	struct batch batch;
	struct coding codings[EXTENTS];
};

struct pump {
	struct page_sink *sink;
	struct crew *crew;
	struct slot ring[RING];
	uint8_t *room;
	size_t room_len, extent_room; /* bytes in all; for one encoded extent */
	size_t filled, drained; /* counted up, index modulo RING */
	bool end, failed;
	uint64_t write_us;
	struct err err; /* of the writer */
	pthread_mutex_t lock;
	pthread_cond_t change;
};

/* ------------------------------------------------------------------------------------- memory */

static size_t slot_room(const struct pump *p)
{
	size_t len = BATCH_BYTES + BATCH_RUNS * sizeof(struct run) + EXTENTS * sizeof(struct extent);

	if (p->sink->chain)
		len += EXTENTS * p->extent_room;
	return (len + PAGE - 1) / PAGE * PAGE;
}

static void encode_job(struct job *job, unsigned worker)
{
	struct coding *c = (struct coding *)job;
	const struct batch *b = &c->slot->batch;

	c->err = ERR_INIT;
	c->failed = filter_encode(c->pump->sink->chain, worker, &c->id,
		b->bytes + c->extent->offset, b->stored + c->extent->at, c->extent, &c->err);
}

static void slot_init(struct pump *p, struct slot *s, uint8_t *room)
{
	struct batch *b = &s->batch;

	b->bytes = room;
	b->runs = (struct run *)(b->bytes + BATCH_BYTES);
	b->extents = (struct extent *)(b->runs + BATCH_RUNS);
	b->stored = (uint8_t *)(b->extents + EXTENTS);
	for (size_t i = 0; i < EXTENTS; i++) {
		s->codings[i].job.run = encode_job;
		s->codings[i].pump = p;
		s->codings[i].slot = s;
		s->codings[i].extent = &b->extents[i];
	}
}

/* Untouched parts of the ring cost nothing. */
static int pump_init(struct pump *p, struct page_sink *sink, struct err *err)
{
	*p = (struct pump){ .sink = sink, .err = ERR_INIT };
	if (sink->chain)
		p->extent_room = EXTENT_BYTES + filter_chain_expansion(sink->chain);
	p->room_len = RING * slot_room(p);
	p->room = mmap(NULL, p->room_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->room == MAP_FAILED)
		return err_nomem(err);
	for (size_t i = 0; i < RING; i++)
		slot_init(p, &p->ring[i], p->room + i * slot_room(p));
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->change, NULL);
	return 0;
}

static void pump_done(struct pump *p)
{
	crew_free(p->crew);
	pthread_cond_destroy(&p->change);
	pthread_mutex_destroy(&p->lock);
	munmap(p->room, p->room_len);
}

/* ----------------------------------------------------------------------------------- encoding */

/* Cuts the batch into extents and gives them to the crew, if there is one yet. */
static void slot_encode(struct pump *p, struct slot *s)
{
	struct batch *b = &s->batch;
	const struct run *run = b->runs;
	size_t in_run = 0; /* bytes of the run that are before the extent */

	b->n_extents = 0;
	for (size_t at = 0; p->sink->chain && at < b->len; at += EXTENT_BYTES) {
		size_t i = b->n_extents++, left = b->len - at;
		struct coding *c = &s->codings[i];
		struct extent *x = &b->extents[i];

		while (in_run >= run_bytes(run))
			in_run -= run_bytes(run++);
		*x = (struct extent){ .offset = at, .address = run->vaddr + in_run,
			.length = left < EXTENT_BYTES ? (uint32_t)left : EXTENT_BYTES,
			.at = i * p->extent_room };
		in_run += x->length;
		c->id = p->sink->common;
		c->id.address = x->address;
		c->id.length = x->length;
		c->id.serial = p->sink->serials++;
		if (p->crew)
			crew_give(p->crew, &c->job);
		else
			encode_job(&c->job, 0);
	}
}

static int slot_put(struct pump *p, struct slot *s, struct err *err)
{
	uint64_t start = clock_us();
	int r = 0;

	/* the last one first: most are done by then */
	for (size_t i = s->batch.n_extents; i-- > 0;) {
		const struct coding *c = &s->codings[i];

		if (p->crew)
			crew_wait(p->crew, &s->codings[i].job);
		if (c->failed) {
			r = c->failed;
			*err = c->err;
			err_while(err, "encoding page 0x%lx", c->extent->address);
		}
	}
	if (r == 0)
		r = p->sink->put(p->sink, &s->batch, err);
	p->write_us += clock_us() - start;
	return r;
}

/* ---------------------------------------------------------------------------------- the writer */

static void *writer_main(void *arg)
{
	struct pump *p = arg;
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	while (rc == 0) {
		while (p->drained == p->filled && !p->end)
			pthread_cond_wait(&p->change, &p->lock);
		if (p->drained == p->filled)
			break;
		pthread_mutex_unlock(&p->lock);
		rc = slot_put(p, &p->ring[p->drained % RING], &p->err);
		pthread_mutex_lock(&p->lock);
		p->drained++;
		p->failed = rc < 0;
		pthread_cond_signal(&p->change);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* The writer gets no signals: they are the coordinator's. */
static int writer_start(struct pump *p, pthread_t *ret)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(ret, NULL, writer_main, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

/* Hands over the batch that was filled and waits until another one is free; false: give up. */
static bool pump_hand_over(struct pump *p)
{
	bool go_on;

	slot_encode(p, &p->ring[p->filled % RING]);
	pthread_mutex_lock(&p->lock);
	p->filled++;
	pthread_cond_signal(&p->change);
	while (p->filled - p->drained == RING && !p->failed)
		pthread_cond_wait(&p->change, &p->lock);
	go_on = !p->failed;
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

/* Reads on while the writer, which gets the batch in the first slot, writes. */
static int pump_overlapped(struct pump *p, struct page_feed *feed, struct page_stats *stats,
	struct err *err)
{
	pthread_t writer;
	bool go_on;
	int rc = 1;

	if (p->sink->chain)
		p->crew = crew_new(NULL);
	if (writer_start(p, &writer))
		return err_set(err, ERR_RESOURCE, EAGAIN, "cannot start a thread to write pages");
	go_on = pump_hand_over(p);
	while (rc > 0 && go_on) {
		uint64_t start = clock_us();

		rc = feed->next(feed, &p->ring[p->filled % RING].batch, err);
		stats->memdump_us += clock_us() - start;
		if (rc > 0)
			rc = interrupt_check(err) < 0 ? -EINTR : rc;
		go_on = rc <= 0 || pump_hand_over(p);
	}
	pthread_mutex_lock(&p->lock);
	p->end = true;
	pthread_cond_signal(&p->change);
	pthread_mutex_unlock(&p->lock);
	pthread_join(writer, NULL);
	if (rc >= 0 && p->failed) {
		*err = p->err;
		return -p->err.number;
	}
	return rc;
}

/* The first batch is written here unless it is full: then more are likely. */
static int pump_run(struct pump *p, struct page_feed *feed, struct page_stats *stats,
	struct err *err)
{
	struct slot *s = &p->ring[0];
	int rc = 0, more;

	do {
		uint64_t start = clock_us();

		more = feed->next(feed, &s->batch, err);
		stats->memdump_us += clock_us() - start;
		if (more > 0 && batch_is_full(&s->batch))
			return pump_overlapped(p, feed, stats, err);
		if (more > 0)
			slot_encode(p, s);
		rc = more > 0 ? slot_put(p, s, err) : more;
	} while (more > 0 && rc == 0);
	return rc;
}

int pages_pump(struct page_feed *feed, struct page_sink *sink, struct page_stats *stats,
	struct err *err)
{
	struct pump *p = malloc(sizeof(*p)); /* with its errors too large for a stack */
	int rc = p ? pump_init(p, sink, err) : err_nomem(err);

	if (rc == 0) {
		rc = pump_run(p, feed, stats, err);
		stats->memwrite_us += p->write_us;
		pump_done(p);
	}
	free(p);
	return rc;
}
