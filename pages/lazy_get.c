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
