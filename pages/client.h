/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The side of a dump that sends its pages to a page server (pages/server.h).
 *
 * CRIU's form: the server writes pagemaps and pages; what was sent is noted beside the images
 * ("torpor-pagemap-ID"), so that the next dump can be an increment. torpor's own form, for pages that
 * went through filters: only pages files are sent, by the sink that writes the pagemap here.
 */
#pragma once
#include "pages/conn.h"
#include "pages/sink.h"
#include "pages/tls.h"

enum { PAGE_CLIENT_CONNECTIONS = 16 };

struct page_client_setup {
	const char *address; /* NULL: this computer */
	uint16_t port;
	int fd; /* a connection that is there already, or -1 */
	unsigned head_size; /* WIRE_HEAD or WIRE_HEAD_OLD */
	unsigned patience_s; /* see struct conn */
	bool files; /* torpor's own form: pages files as they are */
	unsigned connections; /* for their content, side by side; more than 1 needs `files`; 0 is 1 */
	bool tls;
	struct tls_files tls_files;
	const char *tls_name; /* whose certificate it must be; NULL: anybody's */
};

struct page_client;

int page_client_open(const struct page_client_setup *setup, struct page_client **ret,
	struct err *err) must_use;
/* Tells the server that this was all, and asks whether all is well there. Closes in any case. */
int page_client_close(struct page_client *c, struct err *err) must_use;
/* Whether nothing has been sent, so that another dump can use it. */
bool page_client_is_idle(const struct page_client *c);
/* Just closes: the server then throws everything away. NULL is fine. */
void page_client_drop(struct page_client *c);

/* ---- torpor's own form ---- */
bool page_client_takes_files(const struct page_client *c);
/* Begins a pages file; everything until page_client_file_end() belongs to it. */
int page_client_file_begin(struct page_client *c, uint32_t pages_id, struct err *err) must_use;
int page_client_file_write(struct page_client *c, const void *bytes, size_t len, struct err *err)
	must_use;
int page_client_file_hole(struct page_client *c, uint64_t len, struct err *err) must_use;
int page_client_file_end(struct page_client *c, struct err *err) must_use;

/* ---- CRIU's form ---- */
struct client_sink {
	struct page_sink base;
	struct page_client *client;
	uint64_t object;
	bool server_has_parent;
	struct image_sink note; /* what was sent */
};

/* Begins a task or shared object; set is where what is sent is noted. */
int client_sink_open(struct client_sink *s, struct page_client *c, struct image_set *set,
	enum image_id type, unsigned long id, struct err *err) must_use;
int client_sink_close(struct client_sink *s, struct err *err) must_use;
void client_sink_drop(struct client_sink *s);
