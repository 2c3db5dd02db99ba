// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/server.h"
#include "base/io.h"
#include "base/log.h"
#include "pages/dedup.h"
#include "pages/parent.h"
#include "pages/server_files.h"
#include "pages/sink.h"
#include "pages/wire.h"
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	/* numbers of pages files, out of the way of those of a dump into the same directory */
	FIRST_PAGES_ID = 0x10001,
	HANG_UP_US = 2000000,
	GREETING_S = 10,
};

struct server {
	const struct page_server_setup *setup;
	struct conn *conn;
	struct image_set *set;
	struct page_parent *parent; /* NULL: none */
	uint32_t next_pages_id;
	/* the object at hand */
	uint64_t object; /* 0: none */
	struct image_sink sink;
	uint64_t next_vaddr; /* pages come in ascending order */
	struct pagemap before; /* its pagemap in the parent */
	size_t before_at;
	uint8_t *bytes; /* BATCH_BYTES */
	struct err why; /* the first failure; then all is thrown away */
	struct page_server_figures *figures;
};

/* ---- objects ---- */

static int finish_object(struct server *s, struct err *err)
{
	int r = s->object ? image_sink_close(&s->sink, err) : 0;

	s->object = 0;
	return r;
}

/* Pagemap of the object in the parent images; empty if they do not have it. */
static int look_before(struct server *s, enum image_id type, unsigned long id, struct err *err)
{
	s->before = (struct pagemap){ 0 };
	s->before_at = 0;
	return s->parent ? pagemap_load(s->parent->set, type, id, s->parent->arena, &s->before, err) :
			   0;
}

static int begin_object(struct server *s, uint64_t object, struct err *err)
{
	enum image_id type;
	unsigned long id;
	int r = finish_object(s, err);

	if (r < 0)
		return r;
	if (wire_object_parse(object, &type, &id) < 0)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s begins something unknown (0x%lx)",
			s->conn->peer, object);
	r = look_before(s, type, id, err);
	if (r == 0)
		r = image_sink_open(&s->sink, s->set, type, id, s->next_pages_id++, NULL, err);
	if (r < 0)
		return r;
	s->object = object;
	s->next_vaddr = 0;
	s->figures->objects++;
	return 0;
}

/* ---- pages ---- */

static uint64_t run_end(const struct run *run)
{
	return run->vaddr + run->pages * PAGE;
}

/* Whether the parent has all of it. */
static int check_before(struct server *s, const struct run *run, struct err *err)
{
	const struct pagemap *map = &s->before;

	for (uint64_t at = run->vaddr; at < run_end(run);) {
		while (s->before_at < map->n && run_end(&map->runs[s->before_at]) <= at)
			s->before_at++;
		if (s->before_at == map->n || map->runs[s->before_at].vaddr > at)
			return err_image(err, "page 0x%lx is said to be in the parent images, which "
				"do not have it", at);
		at = run_end(&map->runs[s->before_at]);
	}
	return 0;
}

static int check_add(const struct server *s, const struct wire_head *h, struct err *err)
{
	uint64_t end;

	if (!s->object || h->object != s->object)
		return err_set(err, ERR_RESOURCE, EPROTO,
			"%s sends pages of something that it did not begin", s->conn->peer);
	if (h->vaddr % PAGE || !h->pages || h->vaddr < s->next_vaddr ||
		__builtin_mul_overflow(h->pages, (uint64_t)PAGE, &end) ||
		__builtin_add_overflow(end, h->vaddr, &end))
		return err_set(err, ERR_RESOURCE, EPROTO, "%s sends impossible pages (%lu from 0x%lx on)",
			s->conn->peer, h->pages, h->vaddr);
	if (h->flags & ~(uint32_t)(RUN_PARENT | RUN_LAZY | RUN_PRESENT) || !h->flags)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s sends pages with unknown flags 0x%x",
			s->conn->peer, h->flags);
	return 0;
}

static int put_told(struct server *s, struct run run, struct err *err)
{
	struct batch b = { .runs = &run, .n_runs = 1 };
	int r = run.flags & RUN_PARENT ? check_before(s, &run, err) : 0;

	if (r < 0)
		return r;
	s->figures->parent_pages += run.flags & RUN_PARENT ? run.pages : 0;
	return s->sink.base.put(&s->sink.base, &b, err);
}

/* Takes the bytes off the stream in any case; 0 also when they were thrown away. */
static int take_bytes(struct server *s, const struct wire_head *h, struct err *err)
{
	uint64_t left = h->pages;
	struct run run = { .vaddr = h->vaddr, .flags = h->flags };

	while (left) {
		struct batch b = { .bytes = s->bytes, .runs = &run, .n_runs = 1 };
		int r;

		run.pages = left < BATCH_BYTES / PAGE ? left : BATCH_BYTES / PAGE;
		b.len = run.pages * PAGE;
		r = conn_read(s->conn, s->bytes, b.len, err);
		if (r == 0)
			r = conn_ended(s->conn, "in the middle of pages", err);
		if (r < 0)
			return r;
		if (!err_is_set(&s->why) && s->sink.base.put(&s->sink.base, &b, &s->why) == 0)
			s->figures->pages += run.pages;
		run.vaddr += b.len;
		left -= run.pages;
	}
	return 0;
}

/* Only a broken stream is an error here; what cannot be kept is noted in s->why. */
static int take_pages(struct server *s, const struct wire_head *h, struct err *err)
{
	if (!err_is_set(&s->why) && check_add(s, h, &s->why) == 0) {
		const struct run run = { .vaddr = h->vaddr, .pages = h->pages, .flags = h->flags };

		s->next_vaddr = run_end(&run);
		if (!(h->flags & RUN_PRESENT))
			(void)!put_told(s, run, &s->why);
	}
	return h->flags & RUN_PRESENT ? take_bytes(s, h, err) : 0;
}

/* ---- commands ---- */

static int answer32(struct server *s, uint32_t value, struct err *err)
{
	value = htole32(value);
	return conn_write(s->conn, &value, sizeof(value), err);
}

static int open_command(struct server *s, const struct wire_head *h, struct err *err)
{
	uint8_t has_parent;

	if (!err_is_set(&s->why))
		(void)!begin_object(s, h->object, &s->why);
	has_parent = s->before.n > 0;
	return h->cmd == WIRE_OPEN ? conn_write(s->conn, &has_parent, 1, err) : 0;
}

static int parent_command(struct server *s, const struct wire_head *h, struct err *err)
{
	enum image_id type;
	unsigned long id;
	struct pagemap map = { 0 };

	if (!err_is_set(&s->why) && s->parent && wire_object_parse(h->object, &type, &id) == 0)
		(void)!pagemap_load(s->parent->set, type, id, s->parent->arena, &map, &s->why);
	return answer32(s, map.n > 0, err);
}

/* The pages are safe before the answer says so. */
static int close_command(struct server *s, struct err *err)
{
	/* who has nothing to send takes its leave: that is a dump which has failed early */
	s->figures->complete = s->figures->objects > 0;
	if (!err_is_set(&s->why) && finish_object(s, &s->why) == 0 &&
		syncfs(image_set_dirfd(s->set)) < 0)
		err_sys(&s->why, "cannot write the pages to the disk");
	return answer32(s, err_is_set(&s->why) ? (uint32_t)-s->why.number : 0, err);
}

/* 1: go on, 0: that was all. */
static int command(struct server *s, const struct wire_head *h, struct err *err)
{
	int r;

	switch (h->cmd) {
	case WIRE_OPEN_OLD:
	case WIRE_OPEN:
		r = open_command(s, h, err);
		break;
	case WIRE_PARENT:
		r = parent_command(s, h, err);
		break;
	case WIRE_ADD:
		r = take_pages(s, h, err);
		break;
	case WIRE_CLOSE:
	case WIRE_FORCE_CLOSE:
		r = close_command(s, err);
		return r < 0 ? r : 0;
	default:
		return err_set(err, ERR_RESOURCE, EPROTO, "%s sends the unknown command %u",
			s->conn->peer, h->cmd);
	}
	return r < 0 ? r : 1;
}

static int take_files(struct server *s, struct err *err)
{
	struct files_taken taken = { 0 };
	int r;

	s->figures->begun = true;
	r = server_take_files(s->conn, s->setup, s->set, &taken, &s->why, err);

	s->figures->complete = r == 0;
	s->figures->files = taken.files;
	s->figures->bytes = taken.bytes;
	return r;
}

/* Over TLS they are no strangers and may take their time. */
static int read_first(struct server *s, size_t *ret_size, struct wire_head *ret, struct err *err)
{
	int r;

	s->conn->patience_s = s->setup->lobby && !s->conn->tls ? GREETING_S : 0;
	r = wire_read_first(s->conn, ret_size, ret, err);
	s->conn->patience_s = 0;
	return r;
}

static int serve(struct server *s, struct err *err)
{
	struct wire_head h;
	size_t size;
	int r = read_first(s, &size, &h, err);

	if (r > 0 && !size)
		return take_files(s, err);
	while (r > 0) {
		r = command(s, &h, err);
		s->figures->begun |= r >= 0;
		if (r <= 0)
			return r;
		r = wire_read(s->conn, size, &h, err);
	}
	if (r == 0 && s->figures->objects)
		return conn_ended(s->conn, "before it said that this was all", err);
	return r;
}

/* Until the sender closes its side; what it still says does not matter. */
static void wait_for_end(struct conn *c)
{
	struct err ignored = ERR_INIT;
	char byte;

	while (conn_read(c, &byte, 1, &ignored) > 0)
		;
}

/*
 * A socket that is closed while something is unread takes back what the peer has not read either, which
 * is why this server could not go on. Time for him to read it.
 */
static void wait_a_little(struct conn *c, struct server *s)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	uint64_t end = clock_us() + HANG_UP_US;

	while (s->bytes && clock_us() < end && poll(&p, 1, HANG_UP_US / 1000) > 0)
		if (recv(c->fd, s->bytes, BATCH_BYTES, MSG_DONTWAIT) <= 0)
			break;
}

static int server_open(struct server *s, int images_dirfd, const struct image_access *access,
	struct err *err)
{
	int r;

	s->bytes = malloc(BATCH_BYTES);
	if (!s->bytes)
		return err_nomem(err);
	r = image_set_open_with(images_dirfd, true, access, &s->set, err);
	return r < 0 ? r : parent_open(s->set, &s->parent, err);
}

static void server_close(struct server *s, bool keep)
{
	if (s->object)
		image_sink_drop(&s->sink);
	if (s->set && !keep)
		image_set_discard(s->set);
	parent_close(s->parent);
	image_set_close(s->set);
	free(s->bytes);
}

static void free_replaced(struct server *s)
{
	char text[sizeof(s->why.text) + sizeof(s->why.trail)];
	struct err err = ERR_INIT;
	uint64_t bytes;

	if (dedup_parents(s->set, false, &bytes, &err) < 0)
		log_warn("older images keep what is replaced now: %s",
			err_text(&err, text, sizeof(text)));
	else
		log_info("%lu bytes of older images are free", (unsigned long)bytes);
}

int page_server_receive(struct conn *c, const struct page_server_setup *setup,
	struct page_server_figures *ret, struct err *err)
{
	const struct image_access access = { .pages_only = true };
	struct server s = { .setup = setup, .conn = c, .next_pages_id = FIRST_PAGES_ID, .why = ERR_INIT,
		.figures = ret };
	int r;

	*ret = (struct page_server_figures){ 0 };
	r = server_open(&s, setup->images_dirfd, &access, err);
	if (r == 0)
		r = serve(&s, err);
	if (r < 0) {
		wait_a_little(c, &s);
	} else {
		wait_for_end(c);
		if (err_is_set(&s.why)) {
			*err = s.why;
			r = -s.why.number;
		}
	}
	if (r == 0 && setup->auto_dedup && s.parent && !ret->files)
		free_replaced(&s);
	server_close(&s, r == 0);
	return r;
}
