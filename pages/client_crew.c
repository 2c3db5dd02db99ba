// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/client_crew.h"
#include "pages/wire.h"
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PIECE = 1 << 20, LANES_MAX = FRAME_CONNECTIONS_MAX - 1 };

struct lane {
	struct client_crew *crew;
	struct conn conn;
	pthread_t thread;
	bool runs;
	/* what is to be sent; len 0: nothing */
	uint8_t *bytes;
	size_t len;
	uint32_t file;
	uint64_t at;
};

struct client_crew {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool started, end;
	struct err err; /* the first failure */
	struct lane lanes[LANES_MAX];
	size_t n;
};

struct client_crew *client_crew_new(void)
{
	struct client_crew *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	return c;
}

void client_crew_add(struct client_crew *c, const struct conn *take_conn)
{
	if (c->n == LANES_MAX)
		abort();
	c->lanes[c->n++] = (struct lane){ .crew = c, .conn = *take_conn };
}

/* ---- a thread ---- */

static int send_piece(struct lane *l, struct err *err)
{
	uint8_t head[3 * FRAME];

	frame_pack(FRAME_FILE, l->file, head);
	frame_pack(FRAME_AT, l->at, head + FRAME);
	frame_pack(FRAME_DATA, l->len, head + 2 * FRAME);
	return conn_write2(&l->conn, head, sizeof(head), l->bytes, l->len, err);
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct client_crew *c = l->crew;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct err err = ERR_INIT;
		int r;

		while (!l->len && !c->end)
			pthread_cond_wait(&c->changed, &c->lock);
		if (!l->len)
			break;
		pthread_mutex_unlock(&c->lock);
		r = send_piece(l, &err);
		pthread_mutex_lock(&c->lock);
		if (r < 0 && !err_is_set(&c->err))
			c->err = err;
		l->len = 0;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static int start(struct client_crew *c, struct err *err)
{
	sigset_t all, old;
	int r = 0;

	c->started = true;
	/* signals are the main thread's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	for (size_t i = 0; i < c->n && r == 0; i++) {
		struct lane *l = &c->lanes[i];

		l->bytes = malloc(PIECE);
		if (!l->bytes)
			r = ENOMEM;
		else
			r = pthread_create(&l->thread, NULL, lane_main, l);
		l->runs = r == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? err_sysn(err, r, "cannot start a thread that sends pages") : 0;
}

static void stop(struct client_crew *c)
{
	pthread_mutex_lock(&c->lock);
	c->end = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < c->n; i++) {
		if (c->lanes[i].runs)
			pthread_join(c->lanes[i].thread, NULL);
		c->lanes[i].runs = false;
	}
}

/* ---- the writer ---- */

static struct lane *idle_lane(struct client_crew *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (!c->lanes[i].len)
			return &c->lanes[i];
	return NULL;
}

static int give(struct client_crew *c, uint32_t file, uint64_t at, const uint8_t *bytes, size_t len,
	struct err *err)
{
	struct lane *l;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	while (!(l = idle_lane(c)) && !err_is_set(&c->err))
		pthread_cond_wait(&c->changed, &c->lock);
	if (err_is_set(&c->err)) {
		*err = c->err;
		r = -err->number;
	} else {
		memcpy(l->bytes, bytes, len);
		l->file = file;
		l->at = at;
		l->len = len;
		pthread_cond_broadcast(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
	return r;
}

int client_crew_write(struct client_crew *c, uint32_t file, uint64_t at, const void *bytes, size_t len,
	struct err *err)
{
	const uint8_t *from = bytes;
	int r = c->started ? 0 : start(c, err);

	for (size_t done = 0, part; done < len && r == 0; done += part) {
		part = len - done < PIECE ? len - done : PIECE;
		r = give(c, file, at + done, from + done, part, err);
	}
	return r;
}

int client_crew_finish(struct client_crew *c, struct err *err)
{
	int r = 0;

	stop(c);
	if (err_is_set(&c->err)) {
		*err = c->err;
		r = -err->number;
	}
	for (size_t i = 0; i < c->n && r == 0; i++)
		r = client_close_files(&c->lanes[i].conn, err);
	return r;
}

void client_crew_free(struct client_crew *c)
{
	if (!c)
		return;
	/* a thread may wait for a server that does not read */
	for (size_t i = 0; i < c->n; i++)
		if (c->lanes[i].runs)
			shutdown(c->lanes[i].conn.fd, SHUT_RDWR);
	stop(c);
	for (size_t i = 0; i < c->n; i++) {
		conn_close(&c->lanes[i].conn);
		free(c->lanes[i].bytes);
	}
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c);
}
