/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `page-server`: listens, goes to the background if asked to, takes the pages of one dump and ends.
 * With --keep-listening it is one dump that succeeds. With --ps-socket the connection is there already.
 * With --lazy-pages it gives the pages of its images away instead, until somebody needs no more.
 */
#include "pages/server.h"
#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/daemon.h"
#include "cmd/figures.h"
#include "pages/filter.h"
#include "pages/lazy_give.h"
#include "pages/parent.h"
#include "pages/tls.h"
#include <errno.h>
#include <unistd.h>

/* Where it listens, for people and programs: with port 0 nobody could know. */
static void say_port(const struct call *call, uint16_t port)
{
	log_info("listening on port %u", port);
	if (call->o->json)
		printf("{\"ok\": true, \"port\": %u}\n", port);
	else if (!call->o->as_criu || !call->o->port)
		printf("listening on port %u\n", port);
	fflush(stdout);
}

static void say_what_came(const struct conn *c, const struct page_server_figures *f)
{
	if (!f->begun)
		log_info("%s said nothing", c->peer);
	else if (!f->complete)
		log_info("%s ended before it had sent any pages", c->peer);
	else if (f->files)
		log_info("received %lu files of pages, %lu bytes", (unsigned long)f->files,
			(unsigned long)f->bytes);
	else
		log_info("received %lu pages of %lu tasks and shared objects; %lu are in the parent "
			"images", (unsigned long)f->pages, (unsigned long)f->objects,
			(unsigned long)f->parent_pages);
}

/* What one connection, or those of one dump, have to say. */
static int receive_one(const struct call *call, struct conn *c, struct lobby *lobby,
	struct page_server_figures *ret, struct err *err)
{
	const struct options *o = call->o;
	const struct page_server_setup setup = { .images_dirfd = call->images_fd,
		.auto_dedup = o->auto_dedup, .lobby = lobby, .tls = o->tls,
		.tls_files = tls_files_of(o) };
	int r;

	*ret = (struct page_server_figures){ 0 };
	r = o->tls ? conn_secure(c, &setup.tls_files, NULL, err) : 0;
	if (r == 0)
		r = page_server_receive(c, &setup, ret, err);
	if (r == 0)
		say_what_came(c, ret);
	conn_close(c);
	return r;
}

/*
 * Whether another one may come after this one. A stranger is no dump; but if something is wrong with
 * what the only one says, that is a dump with other options, who would wait for ever.
 */
static bool may_another_come(const struct call *call, const struct lobby *lobby,
	const struct page_server_figures *f, int result)
{
	if (f->complete || interrupt_came())
		return false;
	if (call->o->keep_listening)
		return true;
	return !f->begun && (result == 0 || result == -ETIMEDOUT || lobby->n > 0);
}

static void warn_and_forget(struct err *err, const char *what_now)
{
	char text[sizeof(err->text) + sizeof(err->trail)];

	log_warn("%s; %s", err_text(err, text, sizeof(text)), what_now);
	err_clear(err);
}

static int receive(const struct call *call, int listening, struct err *err)
{
	struct page_server_figures f = { 0 };
	struct conn c = { .fd = -1 };
	struct lobby lobby;
	int r;

	lobby_init(&lobby, CONN_SENDER, listening);
	for (;;) {
		r = lobby_next(&lobby, NULL, NULL, &c, err);
		if (r < 0)
			break;
		r = receive_one(call, &c, &lobby, &f, err);
		if (!may_another_come(call, &lobby, &f, r))
			break;
		if (r < 0)
			warn_and_forget(err, "waiting for the next dump");
	}
	lobby_done(&lobby);
	return r;
}

static int give_away(const struct call *call, struct conn *c, int listening, struct err *err)
{
	const struct options *o = call->o;
	const struct page_giver_place place = { .listening = listening, .tls = o->tls,
		.tls_files = tls_files_of(o) };
	struct image_access access = access_open(o);
	struct image_set *set = NULL;
	struct image_giver g;
	int r = image_set_open_with(call->images_fd, false, &access, &set, err);

	image_giver_init(&g, set);
	if (r == 0)
		r = page_giver_serve(&g.base, &place, c, err);
	else if (c)
		conn_close(c);
	log_info("%lu pages were given away", (unsigned long)g.given);
	image_giver_done(&g);
	image_set_close(set);
	access_close(&access);
	return r < 0 ? r : 0;
}

static int link_parent(const struct call *call, bool *ret_made, struct err *err)
{
	*ret_made = false;
	return call->o->prev_images_dir ?
		parent_link_make(call->images_fd, call->o->prev_images_dir, ret_made, err) : 0;
}

/* Somebody can come from now on; *ret_listening, or -1 where a connection was given, is the caller's. */
static int open_door(const struct call *call, int *ret_listening, bool *ret_parent, struct err *err)
{
	const struct options *o = call->o;
	const struct tls_files files = tls_files_of(o);
	uint16_t port = 0;
	int r = o->tls ? tls_check(&files, err) : 0;

	if (r == 0 && o->ps_socket < 0) {
		r = conn_listen(o->address, (uint16_t)o->port, ret_listening, &port, err);
		if (r == 0)
			say_port(call, port);
	}
	return r < 0 ? r : daemon_ready(call, ret_parent, err);
}

/* One dump's pages, or with --lazy-pages all that are asked for. */
static int serve(const struct call *call, int listening, struct err *err)
{
	const struct options *o = call->o;
	struct page_server_figures f;
	struct conn given = { .fd = -1 };
	bool is_given = o->ps_socket >= 0;

	if (is_given)
		conn_of_fd(o->lazy_pages ? CONN_ASKER : CONN_SENDER, (int)o->ps_socket, &given);
	if (o->lazy_pages)
		return give_away(call, is_given ? &given : NULL, listening, err);
	return is_given ? receive_one(call, &given, NULL, &f, err) : receive(call, listening, err);
}

/* What has come of a dump that is not complete goes when we are ended, too, and the link. */
int cmd_page_server(const struct call *call, struct err *err)
{
	auto_close int listening = -1;
	bool made, parent = false;
	int r;

	if (!call->o->lazy_pages)
		interrupt_watch();
	r = link_parent(call, &made, err);
	if (r == 0)
		r = open_door(call, &listening, &parent, err);
	if (r == 0 && !parent)
		r = serve(call, listening, err);
	if (r < 0 && made)
		unlinkat(call->images_fd, PARENT_LINK, 0);
	interrupt_unwatch();
	return r;
}
