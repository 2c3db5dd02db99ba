// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A page server's side of several connections (pages/wire.h, FRAME_JOIN): the first one is read by the
 * caller, each other one by a thread of its own, which writes what comes to its place in the files.
 * No thread is left when server_take_crowd() returns.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/table.h"
#include "base/vec.h"
#include "pages/pages.h"
#include "pages/server_files.h"
#include "pages/wire.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a connection may take to say to whom it belongs. */
enum { GREETING_S = 10 };

struct part_file {
	uint32_t id;
	bool ended;
	uint64_t size; /* when it has ended */
	uint64_t reach; /* up to where there are data */
};

struct crowd;

struct member {
	struct crowd *crowd;
	struct conn conn;
	pthread_t thread;
	bool runs;
	int fd; /* of `file`, or -1 */
	struct part_file *file; /* the one at hand */
	uint64_t at, bytes;
	struct err err; /* why its stream ended early */
};

struct crowd {
	struct image_set *set;
	struct conn *first;
	pthread_t reader; /* who reads it */
	pthread_mutex_t lock; /* of what follows */
	bool told; /* the sender knows of the failure */
	struct table by_id;
	struct vec_of(struct part_file *) files;
	struct err *why; /* the first failure; then all is thrown away */
	struct member *members;
	size_t n;
};

static bool has_failed(struct crowd *c)
{
	bool failed;

	pthread_mutex_lock(&c->lock);
	failed = err_is_set(c->why);
	pthread_mutex_unlock(&c->lock);
	return failed;
}

/* Tells it at once where it may: what is inside of TLS has one user at a time. */
static void fail(struct crowd *c, const struct err *err)
{
	struct err ignored = ERR_INIT;

	pthread_mutex_lock(&c->lock);
	if (!err_is_set(c->why))
		*c->why = *err;
	if (!c->told && (!c->first->tls || pthread_equal(c->reader, pthread_self()))) {
		(void)!server_answer_files(c->first, c->why, &ignored);
		c->told = true;
	}
	pthread_mutex_unlock(&c->lock);
}

/* ---- files ---- */

/* The file of this number, made by who names it first. Under the lock. */
static int find_file(struct crowd *c, uint64_t id, struct part_file **ret, struct err *err)
{
	struct part_file *f = table_get(&c->by_id, id);
	int fd, r;

	*ret = f;
	if (f)
		return 0;
	r = image_create_raw(c->set, IMG_PAGES, id, &fd, err);
	if (r < 0)
		return r;
	close(fd);
	f = calloc(1, sizeof(*f));
	if (!f)
		return err_nomem(err);
	f->id = (uint32_t)id;
	table_put(&c->by_id, id, f);
	vec_push(&c->files, f);
	*ret = f;
	return 0;
}

static int open_file(struct crowd *c, const struct part_file *f, struct err *err)
{
	char name[64];
	int fd;

	image_name(IMG_PAGES, f->id, name, sizeof(name));
	fd = openat(image_set_dirfd(c->set), name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_sys(err, "cannot write %s", name) : fd;
}

/* ---- one of the others ---- */

static int choose_file(struct member *m, uint64_t id, struct err *err)
{
	struct crowd *c = m->crowd;
	int r;

	if (!id || id > UINT32_MAX)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s names an impossible file", m->conn.peer);
	pthread_mutex_lock(&c->lock);
	r = find_file(c, id, &m->file, err);
	pthread_mutex_unlock(&c->lock);
	if (m->fd >= 0)
		close(m->fd);
	m->fd = r < 0 ? r : open_file(c, m->file, err);
	return m->fd < 0 ? m->fd : 0;
}

static int put_data(struct member *m, const uint8_t *bytes, size_t len, struct err *err)
{
	int r = io_pwrite_all(m->fd, bytes, len, (off_t)m->at);

	if (r < 0)
		return err_sysn(err, -r, "cannot write pages-%u.img", m->file->id);
	m->at += len;
	m->bytes += len;
	pthread_mutex_lock(&m->crowd->lock);
	if (m->at > m->file->reach)
		m->file->reach = m->at;
	pthread_mutex_unlock(&m->crowd->lock);
	return 0;
}

/* Takes the bytes off the stream in any case; only a broken stream is an error. */
static int take_data(struct member *m, uint64_t left, uint8_t *bytes, struct err *err)
{
	struct err bad = ERR_INIT;

	if (left > FRAME_DATA_MAX)
		return err_set(err, ERR_RESOURCE, EPROTO, "%s sends too much at once", m->conn.peer);
	if (m->fd < 0 || m->at > INT64_MAX - left)
		err_set(&bad, ERR_RESOURCE, EPROTO, "%s sends data of no file", m->conn.peer);
	while (left) {
		size_t len = left < BATCH_BYTES ? left : BATCH_BYTES;
		int r = conn_read(&m->conn, bytes, len, err);

		if (r <= 0)
			return r < 0 ? r : conn_ended(&m->conn, "in the middle of data", err);
		left -= len;
		if (!err_is_set(&bad) && !has_failed(m->crowd))
			(void)!put_data(m, bytes, len, &bad);
	}
	if (err_is_set(&bad))
		fail(m->crowd, &bad);
	return 0;
}

/* 1: go on, 0: that was all. */
static int take_frame(struct member *m, uint32_t kind, uint64_t number, uint8_t *bytes,
	struct err *err)
{
	struct err bad = ERR_INIT;

	switch (kind) {
	case FRAME_DATA:
		return take_data(m, number, bytes, err) < 0 ? -err->number : 1;
	case FRAME_FILE:
		if (!has_failed(m->crowd) && choose_file(m, number, &bad) < 0)
			fail(m->crowd, &bad);
		return 1;
	case FRAME_AT:
		m->at = number;
		return 1;
	case FRAME_CLOSE:
		return 0;
	default:
		return err_set(err, ERR_RESOURCE, EPROTO, "%s sends the impossible frame %u",
			m->conn.peer, kind);
	}
}

static int read_member(struct member *m, struct err *err)
{
	auto_free uint8_t *bytes = malloc(BATCH_BYTES);
	struct err why;
	uint64_t number;
	uint32_t kind;
	int r = bytes ? 1 : err_nomem(err);

	while (r > 0) {
		r = frame_read(&m->conn, &kind, &number, err);
		if (r == 0)
			r = conn_ended(&m->conn, "before it said that this was all", err);
		if (r > 0)
			r = take_frame(m, kind, number, bytes, err);
	}
	if (r < 0)
		return r;
	pthread_mutex_lock(&m->crowd->lock);
	why = *m->crowd->why;
	pthread_mutex_unlock(&m->crowd->lock);
	return server_answer_files(&m->conn, &why, err);
}

static void *member_main(void *arg)
{
	struct member *m = arg;

	if (read_member(m, &m->err) < 0)
		fail(m->crowd, &m->err);
	return NULL;
}

/* ---- all of them ---- */

/* Whether it says that it belongs to the dump. */
static int greet(struct conn *conn, const struct page_server_setup *setup, const struct conn *first,
	uint64_t join, struct err *err)
{
	struct wire_head head;
	uint64_t number = 0;
	uint32_t kind = 0;
	size_t size = 1;
	int r = 0;

	conn->patience_s = GREETING_S;
	if (setup->tls)
		r = conn_secure(conn, &setup->tls_files, NULL, err);
	if (r == 0)
		r = wire_read_first(conn, &size, &head, err);
	if (r > 0 && !size)
		r = frame_read(conn, &kind, &number, err);
	conn->patience_s = 0;
	if (r >= 0 && (kind != FRAME_JOIN || number != join))
		r = err_set(err, ERR_RESOURCE, EPROTO, "%s does not belong to %s, whose pages this page "
			"server takes; give it another page server", conn->peer, first->peer);
	return r < 0 ? r : 0;
}

/* Strangers do no harm to the dump whose pages come. */
static void refuse(struct conn *conn, const struct err *why)
{
	char text[sizeof(why->text) + sizeof(why->trail)];
	struct err ignored = ERR_INIT;

	log_warn("%s; it is refused", err_text(why, text, sizeof(text)));
	(void)!server_answer_files(conn, why, &ignored);
	conn_close(conn);
}

static int join(struct crowd *c, struct member *m, const struct page_server_setup *setup,
	uint64_t join, struct err *err)
{
	sigset_t all, old;
	int r;

	for (;;) {
		struct err why = ERR_INIT;

		r = lobby_next(setup->lobby, c->first, "before all its other ones were made",
			&m->conn, err);
		if (r < 0)
			return r;
		if (greet(&m->conn, setup, c->first, join, &why) == 0)
			break;
		refuse(&m->conn, &why);
	}
	m->crowd = c;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&m->thread, NULL, member_main, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	m->runs = r == 0;
	return r ? err_sysn(err, r, "cannot start a thread for a connection") : 0;
}

/* What the first connection says. 1: go on, 0: that was all. */
static int take_word(struct crowd *c, struct conn *first, uint32_t kind, uint64_t number,
	struct part_file **file, struct err *err)
{
	struct err bad = ERR_INIT;

	pthread_mutex_lock(&c->lock);
	if (kind == FRAME_FILE && !*file && number && number <= UINT32_MAX) {
		(void)!find_file(c, number, file, &bad);
	} else if (kind == FRAME_END && *file && number <= INT64_MAX && !(*file)->ended) {
		(*file)->ended = true;
		(*file)->size = number;
		*file = NULL;
	} else if (kind != FRAME_CLOSE) {
		err_set(err, ERR_RESOURCE, EPROTO, "%s sends the impossible frame %u (%lu)", first->peer,
			kind, number);
	}
	pthread_mutex_unlock(&c->lock);
	if (err_is_set(&bad))
		fail(c, &bad);
	return err_is_set(err) ? -err->number : kind != FRAME_CLOSE;
}

static int read_first(struct crowd *c, struct conn *first, struct err *err)
{
	struct part_file *file = NULL;
	uint64_t number;
	uint32_t kind;
	int r = 1;

	while (r > 0) {
		r = frame_read(first, &kind, &number, err);
		if (r == 0)
			r = conn_ended(first, "before it said that this was all", err);
		if (r > 0)
			r = take_word(c, first, kind, number, &file, err);
	}
	return r;
}

/* Files get their lengths: where nothing came are holes. */
static int finish_files(struct crowd *c, struct err *err)
{
	vec_each(pos, &c->files) {
		const struct part_file *f = *pos;
		auto_close int fd = -1;

		if (!f->ended || f->reach > f->size)
			return err_set(err, ERR_RESOURCE, EPROTO, "pages-%u.img is not complete", f->id);
		fd = open_file(c, f, err);
		if (fd < 0)
			return fd;
		if (ftruncate(fd, (off_t)f->size) < 0)
			return err_sys(err, "cannot write pages-%u.img", f->id);
	}
	return syncfs(image_set_dirfd(c->set)) < 0 ?
		err_sys(err, "cannot write the pages to the disk") : 0;
}

/* broken: their streams are not read to the end. */
static void end_members(struct crowd *c, bool broken, struct files_taken *ret)
{
	for (size_t i = 0; i < c->n; i++) {
		struct member *m = &c->members[i];

		if (m->runs && broken)
			shutdown(m->conn.fd, SHUT_RDWR);
		if (m->runs)
			pthread_join(m->thread, NULL);
		if (m->crowd && m->fd >= 0)
			close(m->fd);
		conn_close(&m->conn);
		ret->bytes += m->bytes;
	}
}

int server_take_crowd(struct conn *first, const struct page_server_setup *setup,
	struct image_set *set, uint64_t number, struct files_taken *ret, struct err *why,
	struct err *err)
{
	struct crowd c = { .set = set, .why = why, .lock = PTHREAD_MUTEX_INITIALIZER,
		.first = first, .reader = pthread_self() };
	size_t n = number & ((1u << FRAME_TOKEN_AT) - 1);
	struct err bad = ERR_INIT;
	int r = 0;

	if (n < 2 || n > FRAME_CONNECTIONS_MAX || !setup->lobby) {
		r = err_set(err, ERR_RESOURCE, EPROTO, "%s wants %zu connections; this server takes %s",
			first->peer, n, !setup->lobby ? "the one it was given" : "2 to 17");
		fail(&c, err);
		return r;
	}
	c.members = calloc(n - 1, sizeof(*c.members));
	if (!c.members)
		return err_nomem(err);
	for (; c.n < n - 1 && r == 0; c.n++) {
		c.members[c.n].fd = c.members[c.n].conn.fd = -1;
		r = join(&c, &c.members[c.n], setup, number, err);
	}
	if (r == 0)
		r = read_first(&c, first, err);
	if (r < 0) /* an earlier failure is the reason for this one */
		fail(&c, err);
	end_members(&c, r < 0, ret);
	if (r < 0)
		*err = *why;
	if (r == 0 && !err_is_set(why) && finish_files(&c, &bad) < 0)
		*why = bad;
	ret->files = c.files.n;
	vec_each(f, &c.files)
		free(*f);
	vec_done(&c.files);
	table_done(&c.by_id);
	free(c.members);
	return r < 0 || c.told ? r : server_answer_files(first, why, err);
}
