// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Moves batches from a feed to a sink. Writing to fresh page cache takes three times as long as
 * reading another process's memory, so overlapping them (one thread more) hides the reading.
 *
 * A ring of batches: [drained, filled) belong to the writer, the others to the reader. The thread
 * is started when a second full batch follows the first, so that small tasks never pay for it.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "pages/pages.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

enum { RING = 4 };

struct pump {
	struct page_sink *sink;
	struct batch ring[RING];
	void *room;
	size_t filled, drained; /* counted up, index modulo RING */
	bool end, failed;
	uint64_t write_us;
	struct err err; /* of the writer */
	pthread_mutex_t lock;
	pthread_cond_t change;
};

static size_t batch_room(void)
{
	return BATCH_BYTES + BATCH_RUNS * sizeof(struct run);
}

/* Untouched parts of the ring cost nothing. */
static int pump_init(struct pump *p, struct page_sink *sink, struct err *err)
{
	*p = (struct pump){ .sink = sink, .err = ERR_INIT };
	p->room = mmap(NULL, RING * batch_room(), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->room == MAP_FAILED)
		return err_nomem(err);
	for (size_t i = 0; i < RING; i++) {
		p->ring[i].bytes = (uint8_t *)p->room + i * BATCH_BYTES;
		p->ring[i].runs = (struct run *)((uint8_t *)p->room + RING * (size_t)BATCH_BYTES) +
			i * BATCH_RUNS;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->change, NULL);
	return 0;
}

static void pump_done(struct pump *p)
{
	pthread_cond_destroy(&p->change);
	pthread_mutex_destroy(&p->lock);
	munmap(p->room, RING * batch_room());
}

static int pump_put(struct pump *p, const struct batch *b, struct err *err)
{
	uint64_t start = clock_us();
	int rc = p->sink->put(p->sink, b, err);

	p->write_us += clock_us() - start;
	return rc;
}

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
		rc = pump_put(p, &p->ring[p->drained % RING], &p->err);
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

	pthread_mutex_lock(&p->lock);
	p->filled++;
	pthread_cond_signal(&p->change);
	while (p->filled - p->drained == RING && !p->failed)
		pthread_cond_wait(&p->change, &p->lock);
	go_on = !p->failed;
	pthread_mutex_unlock(&p->lock);
	return go_on;
}

/* Reads on while the writer, which already has the batches up to `filled`, writes. */
static int pump_overlapped(struct pump *p, struct page_feed *feed, struct page_stats *stats,
	struct err *err)
{
	pthread_t writer;
	int rc = 1;

	if (writer_start(p, &writer))
		return err_set(err, ERR_RESOURCE, EAGAIN, "cannot start a thread to write pages");
	while (rc > 0) {
		uint64_t start = clock_us();

		rc = feed->next(feed, &p->ring[p->filled % RING], err);
		stats->memdump_us += clock_us() - start;
		if (rc > 0 && !pump_hand_over(p))
			break;
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

int pages_pump(struct page_feed *feed, struct page_sink *sink, struct page_stats *stats,
	struct err *err)
{
	struct pump p;
	int rc = pump_init(&p, sink, err), more;

	if (rc < 0)
		return rc;
	/* The first batch is written here unless it is full: then more are likely. */
	do {
		uint64_t start = clock_us();

		more = feed->next(feed, &p.ring[0], err);
		stats->memdump_us += clock_us() - start;
		if (more > 0 && p.ring[0].len == BATCH_BYTES)
			break;
		rc = more < 0 ? more : more > 0 ? pump_put(&p, &p.ring[0], err) : 0;
	} while (more > 0 && rc == 0);
	if (more > 0 && rc == 0) {
		p.filled = 1;
		rc = pump_overlapped(&p, feed, stats, err);
	}
	stats->memwrite_us += p.write_us;
	pump_done(&p);
	return rc;
}
