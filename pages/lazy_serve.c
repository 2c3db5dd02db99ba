// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Giving pages to whoever asks. Several may be connected at a time, so that one who says nothing (a
 * scan of ports, somebody whose computer is gone) keeps nobody waiting; their questions are answered
 * one by one. Who talks nonsense or breaks off is let go, the others stay.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "pages/lazy_get.h"
#include "pages/pages.h"
#include "pages/tls.h"
#include "pages/wire.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum {
	ANSWER_PAGES = 1024,
	ASKERS_MAX = 16,
	QUESTION_S = 10, /* for the rest of a question, or of a handshake, that has begun */
	ANSWER_S = 60, /* without taking anything of it, while others wait */
};

/* What comes of a question, if it is not an error. */
enum outcome { ENDED, GO_ON, SATISFIED };

struct asker {
	struct conn conn;
	size_t head_size; /* 0: has not asked yet */
};

struct giving {
	const struct page_giver_place *place;
	struct page_giver *giver;
	uint8_t *buf; /* ANSWER_PAGES */
	struct asker askers[ASKERS_MAX]; /* the oldest first */
	size_t n;
};

/* ---- one question ---- */

static int answer_get(struct giving *g, struct asker *a, const struct wire_head *h, struct err *err)
{
	struct wire_head answer = { .cmd = WIRE_ADD, .flags = RUN_PRESENT, .vaddr = h->vaddr,
		.object = h->object, .pages = h->pages < ANSWER_PAGES ? h->pages : ANSWER_PAGES };
	uint8_t head[WIRE_HEAD];
	int r;

	if (!h->pages || h->vaddr % PAGE || h->vaddr > UINT64_MAX - answer.pages * PAGE)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s asks for impossible pages", a->conn.peer);
	r = g->giver->give(g->giver, h->object, h->vaddr, answer.pages, g->buf, err);
	if (r < 0)
		return err_while(err, "answering %s", a->conn.peer);
	return conn_write2(&a->conn, head, wire_pack(&answer, a->head_size, head), g->buf,
		answer.pages * PAGE, err);
}

static int answer(struct giving *g, struct asker *a, const struct wire_head *h, struct err *err)
{
	const uint32_t fine = 0;

	if (!a->head_size)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s sends pages instead of asking for them",
			a->conn.peer);
	if (h->cmd == WIRE_CLOSE || h->cmd == WIRE_FORCE_CLOSE)
		return conn_write(&a->conn, &fine, sizeof(fine), err) < 0 ? -err->number : SATISFIED;
	if (h->cmd != WIRE_GET)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s sends the command %u instead of asking for "
			"pages", a->conn.peer, h->cmd);
	return answer_get(g, a, h, err) < 0 ? -err->number : GO_ON;
}

/* Something has come from him. An outcome, or an error. */
static int serve(struct giving *g, struct asker *a, struct err *err)
{
	struct wire_head h;
	int r;

	a->conn.patience_s = QUESTION_S;
	if (g->place->tls && !a->conn.tls) {
		r = conn_secure(&a->conn, &g->place->tls_files, NULL, err);
		return r < 0 ? r : GO_ON;
	}
	r = a->head_size ? wire_read(&a->conn, a->head_size, &h, err) :
			   wire_read_first(&a->conn, &a->head_size, &h, err);
	a->conn.patience_s = g->n > 1 ? ANSWER_S : 0;
	return r < 0 ? r : r == 0 ? ENDED : answer(g, a, &h, err);
}

/* ---- all of them ---- */

static void let_go(struct giving *g, size_t i)
{
	conn_close(&g->askers[i].conn);
	g->n--;
	memmove(&g->askers[i], &g->askers[i + 1], (g->n - i) * sizeof(*g->askers));
}

/* Whether another one may come; who has never asked makes room. */
static bool has_room(struct giving *g)
{
	for (size_t i = 0; g->n == ASKERS_MAX && i < g->n; i++) {
		if (g->askers[i].head_size)
			continue;
		log_warn("%s asks nothing; it is let go", g->askers[i].conn.peer);
		let_go(g, i);
	}
	return g->n < ASKERS_MAX;
}

static int welcome(struct giving *g, struct err *err)
{
	struct asker a = { .conn = { .fd = -1 } };
	int r = conn_accept(CONN_ASKER, g->place->listening, &a.conn, err);

	if (r < 0)
		return r;
	if (has_room(g))
		g->askers[g->n++] = a;
	else
		conn_close(&a.conn);
	return 0;
}

/* An outcome; errors are his alone, unless nobody else can come or the images are at fault. */
static int attend(struct giving *g, size_t i, struct err *err)
{
	char text[sizeof(err->text) + sizeof(err->trail)];
	int r = serve(g, &g->askers[i], err);

	if (r <= ENDED)
		let_go(g, i);
	if (r >= 0 || g->place->listening < 0 || err->class == ERR_IMAGE)
		return r;
	log_warn("%s; waiting for the next connection", err_text(err, text, sizeof(text)));
	err_clear(err);
	return ENDED;
}

/* Waits until somebody has something to say, and marks them. */
static int listen_to_all(struct giving *g, struct pollfd *p, struct err *err)
{
	int wait_ms = -1;

	p[0] = (struct pollfd){ .fd = g->place->listening, .events = POLLIN };
	for (size_t i = 0; i < g->n; i++) {
		const struct conn *c = &g->askers[i].conn;

		p[1 + i] = (struct pollfd){ .fd = c->fd, .events = POLLIN };
		if (c->tls && tls_has_more(c->tls))
			wait_ms = 0;
	}
	if (poll(p, 1 + g->n, wait_ms) < 0)
		return errno == EINTR ? 0 : err_sys(err, "cannot wait for questions");
	for (size_t i = 0; i < g->n; i++)
		if (g->askers[i].conn.tls && tls_has_more(g->askers[i].conn.tls))
			p[1 + i].revents |= POLLIN;
	return 1;
}

static int give_to_all(struct giving *g, struct err *err)
{
	struct pollfd p[1 + ASKERS_MAX];
	int r = 0;

	while (r != SATISFIED && (g->n || g->place->listening >= 0)) {
		r = listen_to_all(g, p, err);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		/* the later ones first: who is let go is behind those that follow */
		for (size_t i = g->n; i-- && r >= 0 && r != SATISFIED;)
			if (p[1 + i].revents)
				r = attend(g, i, err);
		if (r >= 0 && r != SATISFIED && p[0].revents)
			r = welcome(g, err);
		if (r < 0)
			return r;
	}
	return r == SATISFIED;
}

int page_giver_serve(struct page_giver *giver, const struct page_giver_place *place,
	struct conn *take_given, struct err *err)
{
	auto_free uint8_t *buf = malloc(ANSWER_PAGES * (size_t)PAGE);
	struct giving g = { .place = place, .giver = giver, .buf = buf };
	int r;

	if (take_given)
		g.askers[g.n++].conn = *take_given;
	r = buf ? give_to_all(&g, err) : err_nomem(err);
	while (g.n)
		let_go(&g, g.n - 1);
	return r;
}
