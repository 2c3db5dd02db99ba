// SPDX-License-Identifier: GPL-2.0-or-later
#include "pages/client.h"
#include "base/kdf.h"
#include "pages/client_crew.h"
#include "pages/wire.h"
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* Bytes in a second. */
enum { SLOWEST_DISK = 4 << 20 };
/* How long a server that has broken off may take to say why. */
enum { HEAR_MS = 1000 };

struct page_client {
	struct conn conn;
	size_t head_size;
	bool files;
	bool opened, used;
	uint64_t sent; /* bytes */
	struct client_crew *crew; /* connections for the content of files; NULL: there is only one */
	uint32_t file; /* the one at hand */
	uint64_t at; /* its length so far */
};

static int open_conn(const struct page_client_setup *setup, struct conn *ret, struct err *err)
{
	int r = 0;

	if (setup->fd >= 0)
		conn_of_fd(CONN_SERVER, setup->fd, ret);
	else
		r = conn_open(CONN_SERVER, setup->address, setup->port, ret, err);
	ret->patience_s = setup->patience_s;
	if (r == 0 && setup->tls)
		r = conn_secure(ret, &setup->tls_files, setup->tls_name, err);
	if (r == 0 && setup->files)
		r = conn_write(ret, &(uint32_t){ htole32(WIRE_FILES) }, 4, err);
	return r;
}

/* Each says that it belongs to the others. */
static int open_more(struct page_client *c, const struct page_client_setup *setup, struct err *err)
{
	uint8_t frame[FRAME];
	uint64_t token;
	int r = random_bytes(&token, sizeof(token), err);

	token = token << FRAME_TOKEN_AT | (setup->connections + 1);
	frame_pack(FRAME_JOIN, token, frame);
	if (r == 0)
		r = conn_write(&c->conn, frame, sizeof(frame), err);
	if (r == 0)
		c->crew = client_crew_new();
	for (unsigned i = 0; r == 0 && i < setup->connections; i++) {
		struct conn more = { .fd = -1 };

		r = open_conn(setup, &more, err);
		if (r == 0)
			r = conn_write(&more, frame, sizeof(frame), err);
		client_crew_add(c->crew, &more);
	}
	return r;
}

int page_client_open(const struct page_client_setup *setup, struct page_client **ret,
	struct err *err)
{
	struct page_client *c = calloc(1, sizeof(*c));
	int r = 0;

	if (!c)
		return err_nomem(err);
	c->conn.fd = -1;
	c->head_size = setup->head_size;
	c->files = setup->files;
	r = open_conn(setup, &c->conn, err);
	if (r == 0 && setup->connections > 1)
		r = open_more(c, setup, err);
	if (r < 0) {
		page_client_drop(c);
		return r;
	}
	c->opened = true;
	*ret = c;
	return 0;
}

bool page_client_is_idle(const struct page_client *c)
{
	return !c->used;
}

static int send_head(struct page_client *c, const struct wire_head *h, const void *body, size_t len,
	struct err *err)
{
	enum image_id type = IMG_PAGEMAP;
	unsigned long id = 0;
	uint8_t buf[WIRE_HEAD];

	c->used = true;
	c->sent += len;
	if (conn_write2(&c->conn, buf, wire_pack(h, c->head_size, buf), body, len, err) == 0)
		return 0;
	if (h->cmd == WIRE_CLOSE || wire_object_parse(h->object, &type, &id) < 0)
		return err_while(err, "asking whether it has all pages");
	return err_while(err, "sending the pages of %s %lu",
		type == IMG_PAGEMAP_SHMEM ? "shared memory" : "task", id);
}

/* A server does not take one who never said anything for a dump that has failed. */
static void take_leave(struct page_client *c)
{
	const struct wire_head h = { .cmd = WIRE_CLOSE };
	struct err ignored = ERR_INIT;

	if (c->opened && !c->used && !c->files)
		(void)!send_head(c, &h, NULL, 0, &ignored);
}

void page_client_drop(struct page_client *c)
{
	if (!c)
		return;
	take_leave(c);
	client_crew_free(c->crew);
	conn_close(&c->conn);
	free(c);
}

static int get_answer(struct conn *c, void *buf, size_t len, struct err *err)
{
	int r = conn_read(c, buf, len, err);

	return r > 0 ? 0 : r < 0 ? r : conn_ended(c, "instead of answering", err);
}

/* What the server says of all files. *ret_said: it has said that it failed. */
static int take_answer(struct conn *c, bool *ret_said, struct err *err)
{
	char text[FRAME_TEXT_MAX + 1];
	uint32_t answer[2];
	size_t len;
	int r = get_answer(c, answer, sizeof(answer), err);

	if (r < 0 || !answer[0])
		return r;
	len = le32toh(answer[1]) < FRAME_TEXT_MAX ? le32toh(answer[1]) : FRAME_TEXT_MAX;
	r = get_answer(c, text, len, err);
	text[len] = 0;
	*ret_said = r == 0;
	return r < 0 ? r : err_set(err, ERR_RESOURCE, EIO, "%s says: %s", c->peer, text);
}

/* Something cannot be sent: if the server has told why, that is the error instead. */
static int explain(struct conn *c, struct err *err)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	struct err heard = ERR_INIT;
	bool said = false;

	if (poll(&p, 1, HEAR_MS) > 0 && take_answer(c, &said, &heard) < 0 && said)
		*err = heard;
	return -err->number;
}

/* Nobody speaks unasked but a server that cannot keep the pages: the rest is not sent then. */
static int look_for_failure(struct page_client *c, struct err *err)
{
	struct pollfd p = { .fd = c->conn.fd, .events = POLLIN };
	bool said;

	if (!c->files || c->conn.tls || poll(&p, 1, 0) <= 0)
		return 0;
	if (take_answer(&c->conn, &said, err) == 0)
		err_set(err, ERR_RESOURCE, EPROTO, "%s says that it has all pages before they are sent",
			c->conn.peer);
	return -err->number;
}

int client_close_files(struct conn *c, struct err *err)
{
	uint8_t frame[FRAME];
	bool said;

	frame_pack(FRAME_CLOSE, 0, frame);
	return conn_write(c, frame, sizeof(frame), err) < 0 ? explain(c, err) :
							      take_answer(c, &said, err);
}

static int commands_answer(struct page_client *c, struct err *err)
{
	const struct wire_head h = { .cmd = WIRE_CLOSE };
	uint32_t answer = 0;
	int r = send_head(c, &h, NULL, 0, err);

	if (r == 0)
		r = get_answer(&c->conn, &answer, sizeof(answer), err);
	answer = le32toh(answer);
	if (r == 0 && answer)
		r = err_set(err, ERR_RESOURCE, EIO, "%s could not keep the pages: %s; its log tells "
			"more", c->conn.peer,
			strerror((int32_t)answer < 0 ? -(int32_t)answer : (int32_t)answer));
	return r;
}

int page_client_close(struct page_client *c, struct err *err)
{
	int r = c->crew ? client_crew_finish(c->crew, err) : 0;

	if (r < 0)
		r = explain(&c->conn, err);
	/* before the last answer the server writes everything to its disk */
	if (c->conn.patience_s)
		c->conn.patience_s += (unsigned)(c->sent / SLOWEST_DISK);
	if (r == 0)
		r = c->files ? client_close_files(&c->conn, err) : commands_answer(c, err);

	page_client_drop(c);
	return r;
}

/* ---- torpor's own form ---- */

bool page_client_takes_files(const struct page_client *c)
{
	return c->files;
}

static int send_frame(struct page_client *c, enum frame_kind kind, uint64_t number, const void *body,
	size_t len, struct err *err)
{
	uint8_t frame[FRAME];
	int r = look_for_failure(c, err);

	c->used = true;
	c->sent += len;
	frame_pack(kind, number, frame);
	if (r == 0 && conn_write2(&c->conn, frame, sizeof(frame), body, len, err) < 0)
		r = explain(&c->conn, err);
	return r < 0 ? err_while(err, "sending pages-%u.img", c->file) : 0;
}

int page_client_file_begin(struct page_client *c, uint32_t pages_id, struct err *err)
{
	c->file = pages_id;
	c->at = 0;
	return send_frame(c, FRAME_FILE, pages_id, NULL, 0, err);
}

static int write_by_crew(struct page_client *c, const void *bytes, size_t len, struct err *err)
{
	int r = look_for_failure(c, err);

	c->used = true;
	c->at += len;
	c->sent += len;
	if (r == 0 && client_crew_write(c->crew, c->file, c->at - len, bytes, len, err) < 0)
		r = explain(&c->conn, err);
	return r < 0 ? err_while(err, "sending pages-%u.img", c->file) : 0;
}

int page_client_file_write(struct page_client *c, const void *bytes, size_t len, struct err *err)
{
	int r = 0;

	if (c->crew)
		return write_by_crew(c, bytes, len, err);
	while (len && r == 0) {
		size_t part = len < FRAME_DATA_MAX ? len : FRAME_DATA_MAX;

		r = send_frame(c, FRAME_DATA, part, bytes, part, err);
		bytes = (const uint8_t *)bytes + part;
		len -= part;
	}
	return r;
}

int page_client_file_hole(struct page_client *c, uint64_t len, struct err *err)
{
	c->at += len;
	return c->crew ? 0 : send_frame(c, FRAME_HOLE, len, NULL, 0, err);
}

int page_client_file_end(struct page_client *c, struct err *err)
{
	return send_frame(c, FRAME_END, c->crew ? c->at : 0, NULL, 0, err);
}

/* ---- the sink ---- */

static int put_run(struct client_sink *s, const struct run *run, const uint8_t **bytes,
	struct err *err)
{
	const struct wire_head h = { .cmd = WIRE_ADD, .flags = run->flags, .pages = run->pages,
		.vaddr = run->vaddr, .object = s->object };
	size_t len = run->flags & RUN_PRESENT ? run->pages * PAGE : 0;
	int r;

	if (!len && run->flags & RUN_PARENT && !s->server_has_parent)
		return err_set(err, ERR_IMAGE, ENOENT, "page 0x%lx is as in the previous images, but "
			"%s has none; give it their directory as --prev-images-dir", run->vaddr,
			s->client->conn.peer);
	r = send_head(s->client, &h, *bytes, len, err);
	*bytes += len;
	return r;
}

static int client_sink_put(struct page_sink *base, const struct batch *b, struct err *err)
{
	struct client_sink *s = (struct client_sink *)base;
	const uint8_t *bytes = b->bytes;
	int r = 0;

	for (size_t i = 0; i < b->n_runs && r == 0; i++)
		r = put_run(s, &b->runs[i], &bytes, err);
	return r < 0 ? r : s->note.base.put(&s->note.base, b, err);
}

int client_sink_open(struct client_sink *s, struct page_client *c, struct image_set *set,
	enum image_id type, unsigned long id, struct err *err)
{
	const enum image_id note = type == IMG_PAGEMAP ? IMG_TORPOR_PAGEMAP :
							 IMG_TORPOR_PAGEMAP_SHMEM;
	const struct wire_head h = { .cmd = WIRE_OPEN, .object = wire_object(type, id) };
	uint8_t answer = 0;
	int r;

	*s = (struct client_sink){ .base = { client_sink_put }, .client = c, .object = h.object };
	r = image_sink_open_map(&s->note, set, note, id, err);
	if (r < 0)
		return r;
	r = send_head(c, &h, NULL, 0, err);
	if (r == 0)
		r = get_answer(&c->conn, &answer, sizeof(answer), err);
	s->server_has_parent = answer;
	if (r < 0)
		client_sink_drop(s);
	return r;
}

int client_sink_close(struct client_sink *s, struct err *err)
{
	return image_sink_close(&s->note, err);
}

void client_sink_drop(struct client_sink *s)
{
	image_sink_drop(&s->note);
}
