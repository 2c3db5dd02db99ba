// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/lazy_get.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "pages/wire.h"
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_US = 30000000, PAUSE_US = 200000 };

struct page_getter {
	struct page_client_setup setup;
	struct conn conn; /* fd -1: broken */
	pthread_mutex_t lock;
};

/* ---- asking ---- */

static int connect_again(struct page_getter *g, struct err *err)
{
	const struct page_client_setup *s = &g->setup;
	int r = conn_open(CONN_OWNER, s->address, s->port, &g->conn, err);

	if (r == 0 && s->tls)
		r = conn_secure(&g->conn, &s->tls_files, s->tls_name, err);
	if (r < 0)
		conn_close(&g->conn);
	g->conn.patience_s = s->patience_s;
	return r;
}

int page_getter_open(const struct page_client_setup *setup, struct page_getter **ret,
	struct err *err)
{
	struct page_getter *g = calloc(1, sizeof(*g));
	int r = 0;

	if (!g)
		return err_nomem(err);
	g->setup = *setup;
	pthread_mutex_init(&g->lock, NULL);
	if (setup->fd >= 0) {
		conn_of_fd(CONN_OWNER, setup->fd, &g->conn);
		g->conn.patience_s = setup->patience_s;
		if (setup->tls)
			r = conn_secure(&g->conn, &setup->tls_files, setup->tls_name, err);
	} else {
		r = connect_again(g, err);
	}
	if (r < 0) {
		conn_close(&g->conn);
		free(g);
		return r;
	}
	*ret = g;
	return 0;
}

/* One question; what comes may be less than was asked for. */
static int ask(struct page_getter *g, const struct wire_head *h, void *buf, uint64_t *ret_pages,
	struct err *err)
{
	uint8_t head[WIRE_HEAD];
	size_t size = g->setup.head_size;
	struct wire_head answer;
	int r = conn_write(&g->conn, head, wire_pack(h, size, head), err);

	if (r == 0)
		r = wire_read(&g->conn, size, &answer, err);
	if (r == 0)
		return conn_ended(&g->conn, "instead of answering", err);
	if (r < 0)
		return r;
	if (answer.cmd != WIRE_ADD || answer.vaddr != h->vaddr || !answer.pages ||
		answer.pages > h->pages || !(answer.flags & RUN_PRESENT))
		return err_set(err, ERR_RESOURCE, EPROTO, "%s answers something else than what it was "
			"asked for", g->conn.peer);
	*ret_pages = answer.pages;
	r = conn_read(&g->conn, buf, answer.pages * PAGE, err);
	return r > 0 ? 0 : r < 0 ? r : conn_ended(&g->conn, "instead of answering", err);
}

/* Repeats the question with a new connection if the old one breaks. */
static int ask_patiently(struct page_getter *g, const struct wire_head *h, void *buf,
	uint64_t *ret_pages, struct err *err)
{
	uint64_t end = clock_us() + PATIENCE_US;

	for (;;) {
		int r = g->conn.fd >= 0 ? ask(g, h, buf, ret_pages, err) : connect_again(g, err);

		if (r == 0 && *ret_pages)
			return 0;
		if (r == 0)
			continue;
		conn_close(&g->conn);
		if (g->setup.fd >= 0 || clock_us() > end)
			return r;
		log_warn("%s; it is tried again", err->text);
		err_clear(err);
		usleep(PAUSE_US);
	}
}

int page_getter_get(struct page_getter *g, unsigned long pid, uint64_t vaddr, uint64_t pages,
	void *buf, struct err *err)
{
	int r = 0;

	pthread_mutex_lock(&g->lock);
	while (pages && r == 0) {
		const struct wire_head h = { .cmd = WIRE_GET, .pages = pages, .vaddr = vaddr,
			.object = pid };
		uint64_t got = 0;

		r = ask_patiently(g, &h, buf, &got, err);
		pages -= got;
		vaddr += got * PAGE;
		buf = (uint8_t *)buf + got * PAGE;
	}
	pthread_mutex_unlock(&g->lock);
	return r;
}

void page_getter_close(struct page_getter *g)
{
	const struct wire_head h = { .cmd = WIRE_CLOSE };
	struct err ignored = ERR_INIT;
	uint8_t head[WIRE_HEAD];
	uint32_t answer;

	if (!g)
		return;
	if (g->conn.fd >= 0 && conn_write(&g->conn, head, wire_pack(&h, g->setup.head_size, head),
				       &ignored) == 0)
		(void)!conn_read(&g->conn, &answer, sizeof(answer), &ignored);
	conn_close(&g->conn);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* ---- answering ---- */

enum { ANSWER_PAGES = 1024 };

static int answer_get(struct conn *c, size_t head_size, const struct wire_head *h,
	struct page_giver *g, uint8_t *buf, struct err *err)
{
	struct wire_head answer = { .cmd = WIRE_ADD, .flags = RUN_PRESENT, .vaddr = h->vaddr,
		.object = h->object, .pages = h->pages < ANSWER_PAGES ? h->pages : ANSWER_PAGES };
	uint8_t head[WIRE_HEAD];
	int r;

	if (!h->pages || h->vaddr % PAGE || h->vaddr > UINT64_MAX - answer.pages * PAGE)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s asks for impossible pages", c->peer);
	r = g->give(g, h->object, h->vaddr, answer.pages, buf, err);
	if (r < 0)
		return err_while(err, "answering %s", c->peer);
	return conn_write2(c, head, wire_pack(&answer, head_size, head), buf, answer.pages * PAGE,
		err);
}

int page_giver_serve(struct conn *c, struct page_giver *g, struct err *err)
{
	auto_free uint8_t *buf = malloc(ANSWER_PAGES * (size_t)PAGE);
	struct wire_head h;
	size_t head_size = 0;
	uint32_t fine = 0;
	int r;

	if (!buf)
		return err_nomem(err);
	for (r = wire_read_first(c, &head_size, &h, err); r > 0;
		r = wire_read(c, head_size, &h, err)) {
		if (!head_size)
			return err_set(err, ERR_RESOURCE, EPROTO, "%s sends pages instead of asking for "
				"them", c->peer);
		if (h.cmd == WIRE_CLOSE || h.cmd == WIRE_FORCE_CLOSE)
			return conn_write(c, &fine, sizeof(fine), err) < 0 ? -err->number : 1;
		if (h.cmd != WIRE_GET)
			return err_set(err, ERR_RESOURCE, EPROTO, "%s sends the command %u instead of "
				"asking for pages", c->peer, h.cmd);
		r = answer_get(c, head_size, &h, g, buf, err);
		if (r < 0)
			return r;
	}
	return r;
}
